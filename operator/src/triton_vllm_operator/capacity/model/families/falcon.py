"""Falcon, and Falcon-H1, whose layers have attention and a Mamba 2 mixer side by side."""

from collections.abc import Sequence

from triton_vllm_operator.capacity.dtypes import safetensors_name
from triton_vllm_operator.capacity.model.config import ConfigTraits, ModelConfig
from triton_vllm_operator.capacity.model.family import Caches, CheckpointTraits, EngineClass, Family, StateLayer
from triton_vllm_operator.capacity.model.json_reader import Reader
from triton_vllm_operator.capacity.model.layers import attention_cache
from triton_vllm_operator.capacity.model.safetensors import TensorInfo
from triton_vllm_operator.capacity.model.shape import CacheShape, StateShape
from triton_vllm_operator.capacity.model.state_layers import mamba2_heads, mamba2_shape, write_mamba2


def _kv_heads(text: Reader, attention_heads: int) -> int:
    if not text.boolean("new_decoder_architecture", False) and text.boolean("multi_query", False):
        return 1
    return text.integer("num_kv_heads", attention_heads)


def _h1_state(config: ModelConfig) -> StateShape:
    text = config.text
    inner = text.optional_integer("mamba_d_ssm") or int(text.number("mamba_expand", 2) * config.hidden_size)
    return mamba2_shape(
        inner=inner,
        groups=text.integer("mamba_n_groups", 1),
        heads=text.integer("mamba_n_heads"),
        head_size=text.integer("mamba_d_head"),
        state=text.integer("mamba_d_state"),
        taps=text.integer("mamba_d_conv", 4),
    )


def _h1_caches(config: ModelConfig) -> Caches:
    # registration order in FalconH1ParallelHybrid: attention, then the mixer
    return ((attention_cache(config), CacheShape("mamba", state=_h1_state(config))),) * config.layer_count


def _h1_multipliers(config: ModelConfig, caches: Sequence[CacheShape]) -> tuple[TensorInfo, ...]:
    """Return the engine's vector of multipliers: one for each output of `in_proj`."""
    state = next(cache.state for cache in caches if cache.state is not None)
    rows = 2 * state.conv_width + state.groups * state.group_width + mamba2_heads(config)
    return (TensorInfo("mamba.mup_vector", safetensors_name(config.dtype), (rows,)),)


FAMILIES = (
    Family(
        model_types=("falcon",),
        config=ConfigTraits(ties_embeddings=True, kv_heads=_kv_heads),
        checkpoint=CheckpointTraits(norm_bias=True, gated=False),
    ),
    Family(
        model_types=("falcon_h1",),
        config=ConfigTraits(ties_embeddings=True),
        layer_caches=_h1_caches,
        state=StateLayer(_h1_state, write_mamba2),
        engine=EngineClass(layer_buffers=_h1_multipliers),
    ),
)
