"""Compares `config.json` with the tensors in the headers: the engine loads no checkpoint that contradicts it."""

from collections.abc import Iterable

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.capacity.errors import ShapeError
from triton_vllm_operator.capacity.model.config import ModelConfig
from triton_vllm_operator.capacity.model.safetensors import TensorInfo
from triton_vllm_operator.capacity.model.shape import CacheShape
from triton_vllm_operator.capacity.model.sharding import layer_index

_UNQUANTIZED = frozenset({"BF16", "F16", "F32"})
_MAX_DRAFT_LAYERS = 64
"""Maximum number of MTP layers, which have the indices after the last layer."""


def check_consistency(
    config: ModelConfig, caches: tuple[tuple[CacheShape, ...], ...], tensors: Iterable[TensorInfo]
) -> None:
    """Check the number of layers, the embedding table and the K projections.

    Raises:
        ShapeError: a tensor has another shape than `config.json` gives it.
    """
    draft = config.text.first("num_nextn_predict_layers", "mtp_num_hidden_layers")
    layers = len(caches) + (config.text.integer(draft, low=0, high=_MAX_DRAFT_LAYERS) if draft else 0)
    for tensor in tensors:
        index = layer_index(tensor.name)
        if index is not None and index >= layers and ".mtp" not in f".{tensor.name}":
            raise _contradiction(tensor, f"num_hidden_layers is {config.layer_count}")
        if len(tensor.shape) != 2 or tensor.dtype not in _UNQUANTIZED:
            continue
        if index is None and tensor.name.endswith("model.embed_tokens.weight"):
            _check_embedding(config, tensor)
        elif index is not None and index < len(caches) and tensor.name.endswith("self_attn.k_proj.weight"):
            _check_keys(tensor, caches[index])


def _check_embedding(config: ModelConfig, tensor: TensorInfo) -> None:
    widths = {config.hidden_size, config.text.integer("word_embed_proj_dim", config.hidden_size)}
    if tensor.shape[1] not in widths:
        raise _contradiction(tensor, f"hidden_size is {config.hidden_size}")
    if tensor.shape[0] < config.vocab_size:
        raise _contradiction(tensor, f"vocab_size is {config.vocab_size}")


def _check_keys(tensor: TensorInfo, caches: tuple[CacheShape, ...]) -> None:
    attention = [cache for cache in caches if cache.kind in {"full", "sliding", "chunked"}]
    if attention and tensor.shape[0] not in {cache.kv_heads * cache.head_size for cache in attention}:
        cache = attention[0]
        raise _contradiction(tensor, f"it has {cache.kv_heads} K and V heads of size {cache.head_size}")


def _contradiction(tensor: TensorInfo, given: str) -> ShapeError:
    shape = " x ".join(str(size) for size in tensor.shape)
    return ShapeError(
        Reason.CONFIG_CONTRADICTS_TENSORS,
        f"config.json and the safetensors headers are not of one model: by config.json {given}, but tensor "
        f"{tensor.name[:120]!r} is {shape}; copy both files from one repository and revision",
    )
