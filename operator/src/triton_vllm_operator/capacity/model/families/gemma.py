"""Gemma: tied embeddings with a normalizer, and from Gemma 2 on sliding layers between full ones."""

from collections.abc import Sequence

from triton_vllm_operator.capacity.dtypes import safetensors_name
from triton_vllm_operator.capacity.model.config import ConfigTraits, ModelConfig
from triton_vllm_operator.capacity.model.family import Caches, CheckpointTraits, EngineClass, Family
from triton_vllm_operator.capacity.model.layer_types import alternating, listed_layer_types, sliding_with_full_every
from triton_vllm_operator.capacity.model.layers import attention_cache
from triton_vllm_operator.capacity.model.safetensors import TensorInfo
from triton_vllm_operator.capacity.model.shape import CacheShape, WeightPart

_NORMALIZER = (WeightPart("normalizer", 1, 2),)  # the embedding's scale, one 16-bit number
_TIED = ConfigTraits(ties_embeddings=True)
_GEMMA3_CONFIG = ConfigTraits(ties_embeddings=True, rope_extends_length=False)
_GEMMA3_CHECKPOINT = CheckpointTraits(norms=4, qk_norm="head")
_GEMMA3_LAYERS = sliding_with_full_every(6)
_GEMMA_CLASS = EngineClass(every_stage=frozenset({"tables", "norm"}), parts_on_every_stage=_NORMALIZER)
_GEMMA3_CLASS = EngineClass(every_stage=frozenset({"tables", "norm"}), rotary_sets=2, parts_on_every_stage=_NORMALIZER)
_OTHER_CLASS = EngineClass(parts_on_every_stage=_NORMALIZER)


def _own_layers(types: Sequence[str], shared: int) -> Sequence[str]:
    """Return the types of the layers that keep K and V: the last `shared` ones read an earlier layer's."""
    return types[: len(types) - min(shared, len(types))]


def _gemma3n_caches(config: ModelConfig) -> Caches:
    types = listed_layer_types(config) or sliding_with_full_every(5)(config) or ()
    own = _own_layers(types, config.text.integer("num_kv_shared_layers", 15, low=0))
    window = config.sliding_window or 0
    kept = tuple((attention_cache(config, window if one == "sliding_attention" else 0),) for one in own)
    return kept + ((),) * (config.layer_count - len(kept))


def _gemma4_types(config: ModelConfig) -> Sequence[str]:
    types = list(listed_layer_types(config) or sliding_with_full_every(6)(config) or ["full_attention"])
    return [*types[:-1], "full_attention"]


def _gemma4_cache(config: ModelConfig, layer: int, layer_type: str) -> CacheShape:
    """Return the cache of one layer: full layers have heads of another size, and may have fewer."""
    text, heads, size = config.text, config.kv_heads, config.head_size
    overrides = text.nested("per_layer_config")
    if overrides is not None:
        # keys are the numbers of layers, with leading zeros
        key = next((name for name in overrides.names() if name.isdecimal() and int(name[-8:]) == layer), "")
        own = overrides.nested(key)
        if own is not None:
            heads, size = own.integer("num_key_value_heads", heads), own.integer("head_dim", size)
    elif layer_type == "full_attention":
        fewer = text.boolean("attention_k_eq_v", False) and text.has("num_global_key_value_heads")
        heads = text.integer("num_global_key_value_heads") if fewer else heads
        size = text.integer("global_head_dim", 512)
    window = (config.sliding_window or 0) if layer_type == "sliding_attention" else 0
    return CacheShape("sliding" if window else "full", heads, size, size, window)


def _gemma4_caches(config: ModelConfig) -> Caches:
    own = _own_layers(_gemma4_types(config), config.text.integer("num_kv_shared_layers", 0, low=0))
    kept = tuple((_gemma4_cache(config, layer, one),) for layer, one in enumerate(own))
    return kept + ((),) * (config.layer_count - len(kept))


def _gemma4_rotary(config: ModelConfig) -> tuple[WeightPart, ...]:
    """Return the cosines and sines of sliding and of full layers, over the whole head of either."""
    caches = {cache.kind: cache.head_size for layer in _gemma4_caches(config) for cache in layer}
    return tuple(WeightPart(f"rotary-{kind}", 1, config.rope_rows() * size * 2) for kind, size in caches.items())


def _gemma4_values(config: ModelConfig, caches: Sequence[CacheShape]) -> tuple[TensorInfo, ...]:
    """Return V's projection where the checkpoint has one tensor for K and V, which the engine keeps twice."""
    if not config.text.boolean("attention_k_eq_v", False):
        return ()
    dtype = safetensors_name(config.dtype)
    full = [cache for cache in caches if cache.kind == "full"]
    return tuple(
        TensorInfo("self_attn.v_proj.weight", dtype, (cache.kv_heads * cache.head_size, config.hidden_size))
        for cache in full
    )


FAMILIES = (
    Family(model_types=("gemma",), config=_TIED, engine=_GEMMA_CLASS),
    Family(
        model_types=("gemma2",),
        config=_TIED,
        default_layer_types=alternating,
        checkpoint=CheckpointTraits(norms=4),
        engine=_GEMMA_CLASS,
    ),
    Family(
        model_types=("gemma3_text",),
        config=_GEMMA3_CONFIG,
        default_layer_types=_GEMMA3_LAYERS,
        checkpoint=_GEMMA3_CHECKPOINT,
        engine=_GEMMA3_CLASS,
    ),
    Family(
        model_types=("gemma3n_text",),
        config=_GEMMA3_CONFIG,
        layer_caches=_gemma3n_caches,
        checkpoint=_GEMMA3_CHECKPOINT,
        engine=_GEMMA3_CLASS,
    ),
    Family(
        model_types=("gemma4_text",),
        config=_GEMMA3_CONFIG,
        layer_caches=_gemma4_caches,
        checkpoint=_GEMMA3_CHECKPOINT,
        engine=EngineClass(
            every_stage=frozenset({"tables", "norm"}),
            rotary="none",
            config_parts=_gemma4_rotary,
            layer_buffers=_gemma4_values,
        ),
    ),
    Family(
        model_types=("gemma3",),
        config=_GEMMA3_CONFIG,
        default_layer_types=_GEMMA3_LAYERS,
        checkpoint=_GEMMA3_CHECKPOINT,
        engine=_OTHER_CLASS,
    ),
)
