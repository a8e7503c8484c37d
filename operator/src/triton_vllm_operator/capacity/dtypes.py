"""Element types: their names in vLLM and in safetensors files, and the bytes that an element takes."""

from typing import Final

MODEL_DTYPES: Final = ("bfloat16", "float16", "float32")
"""Dtypes in which vLLM computes."""
STATE_DTYPES: Final = ("auto", *MODEL_DTYPES)
"""Values of `mamba_ssm_cache_dtype`."""
_ALIASES: Final = {"half": "float16", "float": "float32"}
CACHE_DTYPE_BYTES: Final = {
    "bfloat16": 2,
    "float16": 2,
    "half": 2,
    "float32": 4,
    "float": 4,
    "fp8": 1,
    "fp8_e4m3": 1,
    "fp8_e5m2": 1,
    "fp8_inc": 1,
    "int8_per_token_head": 1,
    "fp8_per_token_head": 1,
}
"""Bytes per element by vLLM's names of `dtype` and `kv_cache_dtype` (`vllm/utils/torch_utils.py`)."""
SCALED_PER_TOKEN_AND_HEAD: Final = frozenset({"int8_per_token_head", "fp8_per_token_head"})
"""Cache dtypes that keep a 32-bit scale per token and head beside K and beside V."""
MLA_PACKED_BYTES: Final = {"fp8_ds_mla": 656, "nvfp4_ds_mla": 352}
"""Bytes per token and layer of the cache layouts that only MLA has."""
SAFETENSORS_BITS: Final = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E8M0": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "I64": 64,
    "U64": 64,
    "F64": 64,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
}
"""Bits per element by the names of the safetensors format."""
_SAFETENSORS_NAMES: Final = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}


def full_name(dtype: str) -> str:
    """PyTorch's full name of a dtype: `float16` for `half`."""
    return _ALIASES.get(dtype, dtype)


def safetensors_name(dtype: str) -> str:
    """The safetensors name of a model's dtype; `BF16` for one that no checkpoint of 16 or 32 bits has."""
    return _SAFETENSORS_NAMES.get(full_name(dtype), "BF16")
