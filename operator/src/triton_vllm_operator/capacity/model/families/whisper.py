"""Whisper: an encoder, and a decoder whose layers attend to its output too."""

from triton_vllm_operator.capacity.model.config import ConfigTraits, ModelConfig
from triton_vllm_operator.capacity.model.family import Caches, EngineClass, Family
from triton_vllm_operator.capacity.model.json_reader import MAX_LAYERS
from triton_vllm_operator.capacity.model.layers import attention_cache
from triton_vllm_operator.capacity.model.shape import CacheShape


def _own_and_cross(config: ModelConfig) -> Caches:
    own = attention_cache(config)
    cross = CacheShape("cross", own.kv_heads, own.head_size, own.head_size_v)
    return ((own, cross),) * config.text.integer("decoder_layers", config.layer_count, high=MAX_LAYERS)


FAMILIES = (
    Family(
        model_types=("whisper",),
        config=ConfigTraits(ties_embeddings=True),
        layer_caches=_own_and_cross,
        engine=EngineClass(rotary="none"),
    ),
)
