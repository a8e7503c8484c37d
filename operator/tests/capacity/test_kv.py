"""Blocks, tokens and concurrency, by examples worked by hand and by runs that were logged."""

from __future__ import annotations

from dataclasses import replace

import pytest

from triton_vllm_operator.capacity import EngineSettings, ModelShape, gpu_of_memory, resolve, shape_from_config
from triton_vllm_operator.capacity.memory.kv_cache import (
    KVResult,
    KVSettings,
    cache_bytes_per_token,
    capacity,
    layout,
    request_blocks,
    stage_layers,
)
from triton_vllm_operator.capacity.model.shape import CacheShape, LayerShape

from . import samples
from .samples import Config

GIB = 2**30


def settings_for(config: Config, **changes: object) -> tuple[ModelShape, KVSettings]:
    """The shape of a model and the KV settings that the engine would resolve on a 96 GiB card."""
    shape = shape_from_config(config)
    kv = resolve(shape, EngineSettings(engine_version="0.32.0"), gpu_of_memory(96)).kv
    return shape, replace(kv, **changes)  # type: ignore[arg-type]


def fill(config: Config, available: int, **changes: object) -> KVResult:
    """What `available` bytes give."""
    shape, settings = settings_for(config, **changes)
    return capacity(layout(shape.layers, settings), settings, available)


@pytest.mark.parametrize(
    ("cache", "dtype", "tp", "expected"),
    [
        (CacheShape("full", 8, 128, 128), "bfloat16", 1, 4096),
        (CacheShape("full", 8, 128, 128), "bfloat16", 8, 512),
        (CacheShape("full", 8, 128, 128), "bfloat16", 16, 512),  # replicated: a rank keeps at least one head
        (CacheShape("full", 1, 128, 128), "fp8", 4, 256),
        (CacheShape("mla", 1, 576), "bfloat16", 8, 1152),  # a latent cache is not divided
        (CacheShape("mla", 1, 576), "fp8_ds_mla", 8, 656),
        (CacheShape("full", 2, 128, 128), "fp8_per_token_head", 1, 2 * 256 + 2 * 2 * 4),
    ],
)
def test_bytes_of_a_token_in_a_layer(cache: CacheShape, dtype: str, tp: int, expected: int) -> None:
    assert cache_bytes_per_token(cache, dtype, tp) == expected


def test_llama_by_hand() -> None:
    # 32 layers x 8 heads x (128 + 128) x 2 bytes = 131,072 bytes per token; 16 tokens per block
    result = fill(samples.LLAMA_3_8B, 10 * GIB, max_model_len=8192)
    assert result.blocks == 10 * GIB // (131072 * 16)
    assert result.concurrency == result.blocks / 512
    assert result.tokens == int(result.concurrency * 8192)


def test_one_block_is_held_back() -> None:
    exactly = 512 * 131072 * 16
    assert not fill(samples.LLAMA_3_8B, exactly, max_model_len=8192).fits_one_request
    assert fill(samples.LLAMA_3_8B, exactly + 131072 * 16, max_model_len=8192).fits_one_request


def test_a_window_is_charged_with_the_tokens_in_flight() -> None:
    config = {**samples.MISTRAL_7B, "sliding_window": 4096}
    shape, settings = settings_for(config, max_num_batched_tokens=2048, batches_in_flight=2, max_model_len=32768)
    blocks = request_blocks(layout(shape.layers, settings), settings, 32768)
    assert blocks == -(-(4096 - 1 + 2 * 2048) // 16) + 1


def test_hybrid_blocks_are_as_large_as_a_state() -> None:
    # state: (2*16*128 + 48*128) * 3 * 2 + 48*128*128*4 = 3,207,168 bytes; a token 4 * 512 * 2 = 4,096 bytes
    shape, settings = settings_for(samples.QWEN38_27B, max_model_len=8192)
    plan = layout(shape.layers, settings)
    assert plan.block_size == 784
    assert [len(group.members) for group in plan.groups] == [16, 16, 16, 16]
    assert request_blocks(plan, settings, 8192) == -(-8192 // 784) + 3 * 2


@pytest.mark.parametrize(
    ("config", "available_gib", "length", "changes", "concurrency", "blocks"),
    [
        pytest.param(samples.LLAMA_3_8B, 11.12, 8192, {}, 11.12, None, id="K01"),
        pytest.param(samples.QWEN3_14B, 6.51, 32768, {}, 1.30, None, id="K12"),
        pytest.param(samples.MISTRAL_7B, 102.56, 32768, {}, 25.64, 52510, id="F06"),
        pytest.param(samples.QWEN38_27B, 4.99, 131072,
                     {"kv_dtype": "fp8", "tensor_parallel_size": 2}, 2.3111, 208, id="K24"),
        pytest.param(samples.QWEN36_35B_A3B, 5.98, 131072, {"kv_dtype": "fp8"}, 4.3333, 299, id="K28"),
        pytest.param(samples.QWEN38_27B, 19.54, 262144, {}, 1.1965, 408, id="F12"),
        pytest.param(samples.QWEN38_27B, 31.24, 8192, {}, 38.3529, 652, id="F14"),
    ],
)  # fmt: skip
def test_logged_runs_are_met(
    config: Config, available_gib: float, length: int, changes: dict[str, object], concurrency: float,
    blocks: int | None,
) -> None:  # fmt: skip
    result = fill(config, int(available_gib * GIB), max_model_len=length, **changes)
    assert result.concurrency == pytest.approx(concurrency, rel=0.002)
    assert blocks is None or abs(result.blocks - blocks) <= 1


def test_a_draft_layer_costs_cache() -> None:
    # K41: 32 + 1 layers of 4,096 bytes
    shape, settings = settings_for(samples.LLAMA_31_8B, max_model_len=131072)
    draft = (LayerShape((CacheShape("full", 8, 128, 128),)),)
    result = capacity(layout(shape.layers, settings, draft), settings, int(51.63 * GIB))
    assert result.concurrency == pytest.approx(3.13, rel=0.002)


def test_an_mtp_layer_widens_the_groups_and_adds_state_blocks() -> None:
    # F08: 12 + 1 attention layers pad the groups to 13; 462 blocks of 4,192 over 63 + 3 x (2 + 1)
    shape, settings = settings_for(samples.QWEN35_122B_A10B, max_model_len=262144, kv_dtype="fp8", speculative_tokens=1)
    plan = layout(shape.layers, settings, shape.draft_layers)
    result = capacity(plan, settings, int(24.05 * GIB))
    assert plan.block_size == 4192
    assert request_blocks(plan, settings, 262144) == 72
    assert result.concurrency == pytest.approx(6.4167, rel=0.003)


def test_the_longest_request_is_the_engines_estimate() -> None:
    # K15: 36 layers x 8 heads x 256 x 2 bytes, 6.94 GiB: the engine printed 50,512 of 262,144
    vision_text = {**samples.QWEN3_14B, "num_hidden_layers": 36, "hidden_size": 4096, "num_attention_heads": 32,
                   "max_position_embeddings": 262144}  # fmt: skip
    result = fill(vision_text, int(6.94 * GIB), max_model_len=262144)
    assert not result.fits_one_request
    assert abs(result.estimated_max_len - 50512) <= 16
    assert result.needed_bytes / GIB == pytest.approx(36.0, rel=0.001)


@pytest.mark.parametrize(
    ("layers", "stages", "expected"),
    [(32, 1, (32,)), (32, 4, (8, 8, 8, 8)), (30, 4, (7, 8, 8, 7)), (33, 2, (17, 16)), (5, 4, (1, 1, 2, 1))],
)
def test_remaining_layers_go_to_the_stages_before_the_last(layers: int, stages: int, expected: tuple[int, ...]) -> None:
    assert stage_layers(layers, stages) == expected


def test_a_given_partition_is_taken() -> None:
    assert stage_layers(10, 2, (6, 4)) == (6, 4)


def test_the_stage_with_least_room_decides() -> None:
    shape, settings = settings_for(samples.LLAMA_3_8B, pipeline_parallel_size=2)
    plan = layout(shape.layers, settings)
    assert capacity(plan, settings, [4 * GIB, 2 * GIB]).blocks == capacity(plan, settings, 2 * GIB).blocks


def test_a_given_number_of_blocks_is_taken() -> None:
    assert fill(samples.LLAMA_3_8B, 10 * GIB, blocks_override=777).blocks == 777
