"""Image and audio encoders are estimated from their block, and what is hostile there is refused too."""

from __future__ import annotations

from typing import Any

import pytest

from triton_vllm_operator.capacity import (
    EngineSettings,
    ShapeError,
    TensorInfo,
    gpu_of_memory,
    plan,
    shape_from_config,
)

from . import samples

#: Published sizes of well-known towers, in millions of parameters.
CLIP_L_336 = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "intermediate_size": 4096,
    "patch_size": 14,
    "image_size": 336,
}
SIGLIP_SO400M = {"hidden_size": 1152, "num_hidden_layers": 27, "intermediate_size": 4304, "patch_size": 14,
                 "image_size": 896}  # fmt: skip
WHISPER_LARGE_ENCODER = {"d_model": 1280, "encoder_layers": 32, "encoder_ffn_dim": 5120}


def encoder(**blocks: dict[str, Any]) -> int:
    """Bytes that the blocks add to a text model."""
    shape = shape_from_config({**samples.LLAMA_3_8B, **blocks})
    return sum(part.size_bytes for part in shape.every_stage if part.group == "vision")


@pytest.mark.parametrize(
    ("block", "millions", "projection"),
    [(CLIP_L_336, 303.5, 1024 * 4096 + 4096 * 4096), (SIGLIP_SO400M, 417, 1152 * 4096 + 4096 * 4096)],
)
def test_a_known_tower_is_met(block: dict[str, Any], millions: float, projection: int) -> None:
    assert encoder(vision_config=block) / 2 - projection == pytest.approx(millions * 1e6, rel=0.02)


def test_an_audio_encoder_counts_too() -> None:
    assert encoder(audio_config=WHISPER_LARGE_ENCODER) / 2 == pytest.approx(635e6, rel=0.03)


def test_the_tower_of_a_logged_run_is_met() -> None:
    # Qwen3.8-27B: 51.1 GiB loaded; the text model has 50.22
    tower = {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "patch_size": 16, "temporal_patch_size": 2,
             "spatial_merge_size": 2, "out_hidden_size": 5120, "num_position_embeddings": 2304}  # fmt: skip
    assert encoder(vision_config=tower) / 2**30 == pytest.approx(0.88, rel=0.04)


def test_an_estimate_is_never_promised_and_headers_replace_it() -> None:
    config = {**samples.LLAMA_3_8B, "num_hidden_layers": 1, "vision_config": CLIP_L_336}
    assert plan(shape_from_config(config), EngineSettings(), gpu_of_memory(80)).reason == "WeightsEstimated"
    tensors = [TensorInfo("model.layers.0.mlp.up_proj.weight", "BF16", (4, 4)),
               TensorInfo("vision_tower.blocks.0.mlp.fc1.weight", "BF16", (100, 100))]  # fmt: skip
    shape = shape_from_config(config, tensors)
    assert sum(part.size_bytes for part in shape.every_stage if not part.group.startswith("rotary")) == 20_000
    assert plan(shape, EngineSettings(), gpu_of_memory(80)).verdict == "Fits"


@pytest.mark.parametrize(
    "block", [[], {"hidden_size": -1}, {"hidden_size": 2**40}, {"hidden_size": 64, "depth": "many"}]
)
def test_a_hostile_block_is_refused(block: Any) -> None:
    with pytest.raises(ShapeError):
        encoder(vision_config=block)


def test_an_empty_block_adds_nothing() -> None:
    assert encoder(vision_config={}, audio_config={}) == 0
