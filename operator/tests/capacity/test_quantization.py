"""How each way to write a quantization into `config.json` is read, and what it does to estimated weights."""

from __future__ import annotations

from typing import Any

import pytest

from triton_vllm_operator.capacity import ShapeError, shape_from_config
from triton_vllm_operator.capacity.model.json_reader import Reader
from triton_vllm_operator.capacity.model.quantization import read_quantization
from triton_vllm_operator.capacity.model.shape import Quantization, WeightPart

from . import samples

BLOCKS: list[tuple[dict[str, Any], Quantization]] = [
    ({"quant_method": "fp8"}, Quantization("fp8", 8, 0)),
    ({"quant_method": "fbgemm_fp8"}, Quantization("fbgemm_fp8", 8, 0)),
    ({"quant_method": "mxfp4"}, Quantization("mxfp4", 4, 0)),
    ({"quant_method": "awq"}, Quantization("awq", 4, 0)),
    ({"quant_method": "gptq"}, Quantization("gptq", 4, 0)),
    ({"quant_method": "modelopt"}, Quantization("modelopt", 8, 0)),
    ({"quant_method": "modelopt_fp4"}, Quantization("modelopt_fp4", 4, 0)),
    ({"quant_method": "new_method"}, Quantization("new_method", 16, 0)),
    ({}, Quantization("", 16, 0)),
    ({"quant_method": "AWQ", "w_bit": 4, "q_group_size": 64}, Quantization("awq", 4, 64)),
    ({"quant_method": "gptq", "bits": 3, "group_size": 128}, Quantization("gptq", 3, 128)),
    ({"quant_method": "gptq", "bits": 64}, Quantization("gptq", 64, 0)),
    ({"quant_method": "gptq", "bits": 8, "group_size": -1}, Quantization("gptq", 8, 0)),
    ({"quant_method": "gptq", "group_size": 32}, Quantization("gptq", 4, 32)),
    ({"quant_method": "fp8", "weight_block_size": [128, 64]}, Quantization("fp8", 8, 0, (128, 64))),
    ({"quant_method": "fp8", "weight_block_size": [128]}, Quantization("fp8", 8, 0, (0, 0))),
    ({"quant_method": "fp8", "weight_block_size": [1, 2, 3]}, Quantization("fp8", 8, 0, (0, 0))),
    ({"quant_method": "fp8", "kv_cache_scheme": {"num_bits": 8, "type": "float"}},
     Quantization("fp8", 8, 0, kv_cache_dtype="fp8")),
    ({"quant_method": "fp8", "kv_cache_scheme": {}}, Quantization("fp8", 8, 0, kv_cache_dtype="fp8")),
    ({"quant_method": "fp8", "kv_cache_scheme": {"num_bits": 4}}, Quantization("fp8", 8, 0)),
    ({"quant_method": "fp8", "kv_cache_scheme": {"type": "int"}}, Quantization("fp8", 8, 0)),
    ({"quant_method": "compressed_tensors",
      "config_groups": {"group_0": {"weights": {"num_bits": 4, "group_size": 64}}}},
     Quantization("compressed-tensors", 4, 64)),
    ({"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"group_size": -1}}}},
     Quantization("compressed-tensors", 8, 0)),
    ({"quant_method": "compressed-tensors", "config_groups": {"b": {"weights": {}}, "a": {"weights": {"num_bits": 4}}}},
     Quantization("compressed-tensors", 8, 0)),
    ({"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": None}}},
     Quantization("compressed-tensors", 16, 0)),
    ({"quant_method": "compressed-tensors", "config_groups": {"group_0": None}},
     Quantization("compressed-tensors", 16, 0)),
    ({"quant_method": "compressed-tensors", "config_groups": {}}, Quantization("compressed-tensors", 16, 0)),
    ({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "nvfp4", "group_size": 16}},
     Quantization("modelopt_fp4", 4, 16)),
    ({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "fp8"}},
     Quantization("modelopt", 8, 0, kv_cache_dtype="fp8")),
    ({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "INT8"}},
     Quantization("modelopt", 8, 0)),
    ({"producer": {"name": "other"}, "quant_method": "fp8", "quantization": {"quant_algo": "NVFP4", "group_size": 0}},
     Quantization("fp8", 8, 0)),
    ({"producer": {"name": "modelopt"}, "quant_method": "fp8"}, Quantization("fp8", 8, 0)),
    ({"quant_method": "fp8", "quantization": "none"}, Quantization("fp8", 8, 0)),
]  # fmt: skip


@pytest.mark.parametrize(("block", "expected"), BLOCKS)
def test_each_form_of_the_block_is_read(block: dict[str, Any], expected: Quantization) -> None:
    assert read_quantization(Reader(block)) == expected


@pytest.mark.parametrize(
    "block",
    [
        {"bits": 0},
        {"bits": 65},
        {"bits": "4"},
        {"group_size": -2},
        {"config_groups": {"g": {"weights": {"num_bits": 65}}}},
        {"config_groups": {"g": {"weights": {"group_size": -2}}}},
        {"kv_cache_scheme": {"num_bits": 65}},
        {"quantization": {"group_size": -1}},
        {"quant_method": 4},
        {"weight_block_size": 128},
    ],
)
def test_a_value_out_of_range_is_refused(block: dict[str, Any]) -> None:
    with pytest.raises(ShapeError):
        read_quantization(Reader(block))


def feed_forward(**quantization: Any) -> float:
    """Bits per weight that the planner estimates for the feed-forward part of a layer."""
    config = {**samples.LLAMA_3_8B, "num_hidden_layers": 1, "quantization_config": quantization}
    return bits(shape_from_config(config).layers[0].weights, "mlp") / (3 * 4096 * 14336)


def bits(parts: tuple[WeightPart, ...], group: str) -> int:
    """Bits of the parts of a group."""
    return 8 * sum(part.size_bytes for part in parts if part.group == group)


@pytest.mark.parametrize(
    ("quantization", "bits_per_weight"),
    [
        ({"quant_method": "new_method"}, 16),
        ({"quant_method": "fp8"}, 8),
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, 4 + (16 + 4) / 128),  # scale and zero point per group
        ({"quant_method": "gptq", "bits": 8, "group_size": 32}, 8 + (16 + 8) / 32),
        ({"quant_method": "mxfp4"}, 16),  # experts only
        ({"quant_method": "compressed-tensors",
          "config_groups": {"group_0": {"weights": {"num_bits": 8, "group_size": -1}}}}, 8),  # one group per channel
    ],
)  # fmt: skip
def test_estimated_weights_shrink_by_the_bits_and_grow_by_the_scales(
    quantization: dict[str, Any], bits_per_weight: float
) -> None:
    assert feed_forward(**quantization) == bits_per_weight


def test_mxfp4_experts_have_a_scale_of_8_bits_per_32_weights_and_norms_stay_as_they_are() -> None:
    plain = shape_from_config({**samples.GPT_OSS_20B, "num_hidden_layers": 1}).layers[0].weights
    packed = {"num_hidden_layers": 1, "quantization_config": {"quant_method": "mxfp4"}}
    found = shape_from_config({**samples.GPT_OSS_20B, **packed}).layers[0].weights
    assert [part.expert for part in plain] == [part.expert for part in found]
    for before, after in zip(plain, found, strict=True):
        expected = int(before.size_bytes * 4.25 / 16) if before.expert else before.size_bytes
        assert (after.group, after.shards, after.size_bytes) == (before.group, before.shards, expected)
    awq = {"num_hidden_layers": 1, "quantization_config": {"quant_method": "awq"}}
    norms = shape_from_config({**samples.LLAMA_3_8B, **awq}).layers[0].weights
    assert bits(norms, "norms") == 2 * 4096 * 16
