"""Reads how a checkpoint is quantized, from `config.json`."""

from typing import Final

from triton_vllm_operator.capacity.model.json_reader import Reader
from triton_vllm_operator.capacity.model.shape import Quantization

_DEFAULT_BITS: Final = {
    "fp8": 8,
    "mxfp4": 4,
    "modelopt": 8,
    "modelopt_fp4": 4,
    "awq": 4,
    "gptq": 4,
    "fbgemm_fp8": 8,
}
"""Bits per weight of methods whose checkpoints need not state them."""


def read_quantization(block: Reader) -> Quantization:
    """Return the quantization that a `quantization_config` or `compression_config` describes.

    Raises:
        ShapeError: a field has a wrong type or is out of range.
    """
    method = block.text("quant_method").lower().replace("compressed_tensors", "compressed-tensors")
    producer = block.nested("producer")
    inner = block.nested("quantization") if block.is_object("quantization") else None
    if producer is not None and producer.text("name") == "modelopt" and inner is not None:
        method = "modelopt_fp4" if "FP4" in inner.text("quant_algo").upper() else "modelopt"
    bits, group_size = _weight_format(block, inner)
    size = block.integers("weight_block_size")
    return Quantization(
        method=method,
        weight_bits=bits or _DEFAULT_BITS.get(method, 16),
        group_size=group_size,
        block=(size[0], size[1]) if len(size) == 2 else (0, 0),
        kv_cache_dtype=_kv_cache_dtype(block, inner),
    )


def _weight_format(block: Reader, inner: Reader | None) -> tuple[int, int]:
    """Return bits per weight and weights per scale; 0 for what is not stated."""
    bits = block.first("bits", "w_bit")
    group = block.first("group_size", "q_group_size")
    if bits or group:
        size = block.integer(group, -1, low=-1) if group else 0
        return (block.integer(bits, high=64) if bits else 0), max(size, 0)
    if inner is not None and inner.has("group_size"):
        return 0, inner.integer("group_size", low=0)
    groups = block.nested("config_groups")
    first = groups.nested(groups.names()[0]) if groups is not None and groups.names() else None
    weights = first.nested("weights") if first is not None else None
    if weights is None:
        return 0, 0
    return weights.integer("num_bits", 8, high=64), max(weights.integer("group_size", 0, low=-1), 0)


def _kv_cache_dtype(block: Reader, inner: Reader | None) -> str:
    scheme = block.nested("kv_cache_scheme")
    if scheme is not None and scheme.integer("num_bits", 8, high=64) == 8 and scheme.text("type", "float") == "float":
        return "fp8"
    if inner is not None and inner.text("kv_cache_quant_algo").upper() == "FP8":
        return "fp8"
    return "auto"
