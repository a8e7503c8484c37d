"""`config.json` to a shape: what each family keeps per layer, and the lengths the engine derives."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from triton_vllm_operator.capacity import ModelShape, ShapeError, TensorInfo, shape_from_config

from . import samples
from .samples import Config


def kinds(config: Config) -> Counter[str]:
    """Caches of the model by kind."""
    return Counter(cache.kind for layer in shape_from_config(config).layers for cache in layer.caches)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (samples.LLAMA_3_8B, {"full": 32}),
        ({**samples.MISTRAL_7B, "sliding_window": 4096}, {"sliding": 32}),
        (samples.GEMMA3_27B, {"sliding": 52, "full": 10}),
        (samples.GPT_OSS_20B, {"sliding": 12, "full": 12}),
        (samples.DEEPSEEK_V2_LITE, {"mla": 27}),
        (samples.QWEN38_27B, {"mamba": 48, "full": 16}),
        (samples.MAMBA2, {"mamba": 4}),
    ],
)
def test_each_layer_keeps_what_its_family_keeps(config: Config, expected: dict[str, int]) -> None:
    assert kinds(config) == expected


def test_a_window_counts_only_where_the_model_uses_it() -> None:
    windowed = {**samples.QWEN25_7B, "sliding_window": 4096, "max_window_layers": 20}
    assert kinds(windowed) == {"full": 28}
    assert kinds({**windowed, "use_sliding_window": True}) == {"full": 20, "sliding": 8}


def test_a_wrapped_text_model_is_read_and_marked_multimodal() -> None:
    wrapped = {"architectures": ["Qwen3_5ForConditionalGeneration"], "model_type": "qwen3_5", "vision_config": {},
               "text_config": samples.QWEN38_27B}  # fmt: skip
    shape = shape_from_config(wrapped)
    assert shape.multimodal
    assert (shape.hidden_size, len(shape.layers)) == (5120, 64)
    assert shape.architecture == "Qwen3_5ForConditionalGeneration"


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        (None, 8192),
        ({"rope_type": "linear", "factor": 4.0}, 32768),
        ({"type": "dynamic", "factor": 2.0}, 16384),
        ({"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}, 8192),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048}, 8192),
    ],
)
def test_the_rope_factor_is_applied_once(scaling: Config | None, expected: int) -> None:
    assert shape_from_config({**samples.LLAMA_3_8B, "rope_scaling": scaling}).max_position == expected


@pytest.mark.parametrize(
    ("quantization", "method", "bits", "group"),
    [
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, "awq", 4, 128),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1}, "gptq", 8, 0),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8", 8, 0),
        ({"quant_method": "mxfp4"}, "mxfp4", 4, 0),
        ({"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"num_bits": 8}}}},
         "compressed-tensors", 8, 0),
        ({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4", "group_size": 16}},
         "modelopt_fp4", 4, 16),
    ],
)  # fmt: skip
def test_quantization_is_read(quantization: Config, method: str, bits: int, group: int) -> None:
    found = shape_from_config({**samples.LLAMA_3_8B, "quantization_config": quantization}).quantization
    assert found is not None
    assert (found.method, found.weight_bits, found.group_size) == (method, bits, group)


def test_a_checkpoint_can_declare_its_cache_dtype() -> None:
    scheme = {"quant_method": "compressed-tensors", "kv_cache_scheme": {"num_bits": 8, "type": "float"}}
    shape = shape_from_config({**samples.LLAMA_3_8B, "quantization_config": scheme})
    assert shape.quantization is not None
    assert shape.quantization.kv_cache_dtype == "fp8"


@pytest.mark.parametrize(
    "config",
    [samples.LLAMA_3_8B, samples.MIXTRAL_8X7B, samples.GEMMA3_27B, samples.DEEPSEEK_V2_LITE, samples.QWEN38_27B,
     samples.QWEN25_7B_AWQ, samples.GPT_OSS_20B, samples.MAMBA2],
)  # fmt: skip
def test_the_json_form_round_trips(config: Config) -> None:
    shape = shape_from_config(config)
    assert ModelShape.from_json(json.loads(json.dumps(shape.to_json()))) == shape


def test_the_json_form_writes_equal_layers_once() -> None:
    text = json.dumps(shape_from_config(samples.LLAMA_33_70B).to_json())
    assert len(text) < 4000


@pytest.mark.parametrize(
    "change",
    [
        {"format": "something/else"},
        {"layers": "many"},
        {"layers": [{"count": 10**6}]},
        {"layers": [{"count": 1, "caches": [{"kind": "quantum"}]}]},
        {"layers": [{"count": 1, "weights": [{"group": "mlp", "shards": 0, "sizeBytes": -5}]}]},
        {"vocabSize": "many"},
    ],
)
def test_a_damaged_shape_file_is_refused(change: dict[str, Any]) -> None:
    good = json.loads(json.dumps(shape_from_config(samples.LLAMA_3_8B).to_json()))
    with pytest.raises(ShapeError):
        ModelShape.from_json({**good, **change})


def test_what_config_alone_cannot_tell_is_said() -> None:
    vision = {**samples.LLAMA_3_8B, "vision_config": {}}
    assert "image or audio" in shape_from_config(vision).weights_incomplete
    assert "quantized" in shape_from_config(samples.QWEN25_7B_AWQ).weights_incomplete
    tensors = [TensorInfo(f"model.layers.{i}.mlp.up_proj.qweight", "I32", (4, 4)) for i in range(28)]
    assert shape_from_config(samples.QWEN25_7B_AWQ, tensors).weights_incomplete == ""
    assert shape_from_config(samples.LLAMA_3_8B).weights_incomplete == ""


def test_headers_of_some_shards_only_are_refused() -> None:
    tensors = [TensorInfo(f"model.layers.{i}.mlp.up_proj.weight", "BF16", (4, 4)) for i in range(31)]
    with pytest.raises(ShapeError) as caught:
        shape_from_config(samples.LLAMA_3_8B, tensors)
    assert caught.value.reason == "CheckpointIncomplete"
    assert "layer 31" in str(caught.value)
