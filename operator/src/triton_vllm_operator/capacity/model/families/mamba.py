"""Mamba 1 and 2, and Falcon Mamba: recurrent layers only, without attention and feed-forward."""

from collections.abc import Callable

from triton_vllm_operator.capacity.model.config import ConfigTraits, ModelConfig
from triton_vllm_operator.capacity.model.family import Caches, CheckpointTraits, EngineClass, Family, StateLayer
from triton_vllm_operator.capacity.model.shape import CacheShape, StateShape
from triton_vllm_operator.capacity.model.state_layers import mamba1_shape, mamba2_shape, write_mamba1, write_mamba2

_CHECKPOINT = CheckpointTraits(norms=1, feed_forward="none")
_CLASS = EngineClass(every_stage=frozenset({"tables", "norm"}), rotary="none")


def _mamba1_state(config: ModelConfig) -> StateShape:
    text = config.text
    inner = text.integer("intermediate_size", 2 * config.hidden_size)
    return mamba1_shape(inner, text.integer("state_size", 16), text.integer("conv_kernel", 4))


def _mamba2_state(config: ModelConfig) -> StateShape:
    text = config.text
    return mamba2_shape(
        inner=int(text.number("expand", 2) * config.hidden_size),
        groups=text.integer("n_groups", 8),
        heads=text.integer("num_heads"),
        head_size=text.integer("head_dim"),
        state=text.integer("state_size"),
        taps=text.integer("conv_kernel", 4),
    )


def _every_layer(state: Callable[[ModelConfig], StateShape]) -> Callable[[ModelConfig], Caches]:
    return lambda config: ((CacheShape("mamba", state=state(config)),),) * config.layer_count


FAMILIES = (
    Family(
        model_types=("mamba",),
        layer_caches=_every_layer(_mamba1_state),
        state=StateLayer(_mamba1_state, write_mamba1),
        checkpoint=_CHECKPOINT,
        engine=_CLASS,
    ),
    Family(
        model_types=("falcon_mamba",),
        config=ConfigTraits(ties_embeddings=True),
        layer_caches=_every_layer(_mamba1_state),
        state=StateLayer(_mamba1_state, write_mamba1),
        checkpoint=_CHECKPOINT,
    ),
    Family(
        model_types=("mamba2",),
        layer_caches=_every_layer(_mamba2_state),
        state=StateLayer(_mamba2_state, write_mamba2),
        checkpoint=_CHECKPOINT,
        engine=_CLASS,
    ),
)
