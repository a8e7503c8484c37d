"""Zamba 2: Mamba 2 layers, some with an attention before them."""

from triton_vllm_operator.capacity.model.config import ConfigTraits, ModelConfig
from triton_vllm_operator.capacity.model.family import Caches, Family, StateLayer
from triton_vllm_operator.capacity.model.layer_types import listed_layer_types
from triton_vllm_operator.capacity.model.layers import attention_cache
from triton_vllm_operator.capacity.model.shape import CacheShape, StateShape
from triton_vllm_operator.capacity.model.state_layers import mamba2_shape, write_mamba2


def _state(config: ModelConfig) -> StateShape:
    text = config.text
    return mamba2_shape(
        inner=int(text.number("mamba_expand", 2) * config.hidden_size),
        groups=text.integer("mamba_ngroups", 1),
        heads=text.integer("n_mamba_heads"),
        head_size=text.integer("mamba_headdim"),
        state=text.integer("mamba_d_state"),
        taps=text.integer("mamba_d_conv", 4),
    )


def _caches(config: ModelConfig) -> Caches:
    types = listed_layer_types(config) or ("mamba",) * config.layer_count
    both = (attention_cache(config), CacheShape("mamba", state=_state(config)))
    return tuple(both if one == "hybrid" else both[1:] for one in types)


FAMILIES = (
    Family(
        model_types=("zamba2",),
        config=ConfigTraits(head_size="attention_head_dim"),
        layer_caches=_caches,
        state=StateLayer(_state, write_mamba2),
    ),
)
