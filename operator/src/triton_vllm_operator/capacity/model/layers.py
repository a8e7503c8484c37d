"""The caches of each decoder layer.

What a layer keeps follows vLLM's model classes (`vllm/model_executor/models`) and, where `config.json` has no
`layer_types`, the defaults that Transformers fills in before the engine reads it.
"""

from collections.abc import Sequence
from typing import Final

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.capacity.errors import ShapeError
from triton_vllm_operator.capacity.model.config import ModelConfig
from triton_vllm_operator.capacity.model.family import Caches, Family
from triton_vllm_operator.capacity.model.layer_types import listed_layer_types
from triton_vllm_operator.capacity.model.shape import CacheShape

_FULL_NAMES: Final = frozenset({"full_attention", "attention", "global_attention", "full"})
_SLIDING_NAMES: Final = frozenset({"sliding_attention", "sliding_window_attention", "local_attention"})
_STATE_NAMES: Final = frozenset({"mamba", "mamba2", "linear_attention", "conv", "recurrent", "short_conv"})
_NO_CACHE_NAMES: Final = frozenset({"mlp", "moe", "none"})


def layer_caches(config: ModelConfig, family: Family) -> Caches:
    """Return the caches per decoder layer, in layer order.

    Raises:
        ShapeError: a layer's type is not known, or a size is missing.
    """
    if family.layer_caches is not None:
        return family.layer_caches(config)
    if config.is_mla:
        return ((mla_cache(config),),) * config.layer_count
    types = layer_types(config, family)
    window = config.sliding_window or 0
    if types is None:
        return ((attention_cache(config, window),),) * config.layer_count
    if window and family.window_without_query:
        window += 1
    return tuple(_caches_of(config, family, one, window) for one in types)


def layer_types(config: ModelConfig, family: Family) -> Sequence[str] | None:
    """Return one type per layer, from `config.json` or the family's default; None when all layers are alike."""
    listed = listed_layer_types(config)
    if listed is None and family.default_layer_types is not None:
        return family.default_layer_types(config)
    return listed


def attention_cache(config: ModelConfig, window: int = 0) -> CacheShape:
    """Return the cache of an attention layer: of all tokens, or of the last `window` tokens."""
    size = config.head_size
    if not size or not config.kv_heads:
        raise ShapeError(Reason.CONFIG_FIELD_MISSING, "config.json gives no attention heads for an attention layer")
    return CacheShape("sliding" if window else "full", config.kv_heads, size, config.value_head_size, window)


def mla_cache(config: ModelConfig) -> CacheShape:
    """Return the latent cache of an MLA layer: one head without a separate V, the same on every rank."""
    return CacheShape("mla", kv_heads=1, head_size=config.head_size)


def indexer_cache(config: ModelConfig) -> CacheShape:
    """Return the cache of a sparse attention's indexer: one 8-bit key per token, with a 32-bit scale per 128 of it."""
    size = config.text.integer("index_head_dim", 128)
    return CacheShape("mla", kv_heads=1, head_size=size + size // 128 * 4, element_bytes=1)


def _caches_of(config: ModelConfig, family: Family, layer_type: str, window: int) -> tuple[CacheShape, ...]:
    if layer_type in _FULL_NAMES:
        return (attention_cache(config),)
    if layer_type in _SLIDING_NAMES:
        return (attention_cache(config, window),)
    if layer_type == "chunked_attention":
        return (_chunked_cache(config),)
    if layer_type in _STATE_NAMES:
        return (_state_cache(config, family),)
    if layer_type in _NO_CACHE_NAMES:
        return ()
    raise ShapeError(
        Reason.LAYER_TYPE_UNKNOWN, f"config.json: layer type {layer_type[:60]!r} is not known to the planner"
    )


def _chunked_cache(config: ModelConfig) -> CacheShape:
    chunk = config.text.integer("attention_chunk_size", 0, low=0)
    full = attention_cache(config)
    return CacheShape("chunked", full.kv_heads, full.head_size, full.head_size_v, chunk) if chunk else full


def _state_cache(config: ModelConfig, family: Family) -> CacheShape:
    if family.state is None:
        raise ShapeError(
            Reason.LAYER_TYPE_UNKNOWN, f"the planner does not know the state layers of model type {config.model_type!r}"
        )
    return CacheShape("mamba", state=family.state.shape(config))
