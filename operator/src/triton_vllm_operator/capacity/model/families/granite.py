"""Granite as a mixture of experts, and with Mamba 2 layers."""

from triton_vllm_operator.capacity.model.config import ModelConfig
from triton_vllm_operator.capacity.model.family import EngineClass, Family, StateLayer
from triton_vllm_operator.capacity.model.shape import StateShape
from triton_vllm_operator.capacity.model.state_layers import mamba2_shape, write_mamba2

_CLASS = EngineClass(every_stage=frozenset({"tables", "norm"}))


def _state(config: ModelConfig) -> StateShape:
    text = config.text
    return mamba2_shape(
        inner=int(text.number("mamba_expand", 2) * config.hidden_size),
        groups=text.integer("mamba_n_groups", 1),
        heads=text.integer("mamba_n_heads"),
        head_size=text.integer("mamba_d_head"),
        state=text.integer("mamba_d_state"),
        taps=text.integer("mamba_d_conv", 4),
    )


FAMILIES = (
    Family(model_types=("granitemoe", "granitemoeshared"), engine=_CLASS),
    Family(model_types=("granitemoehybrid",), state=StateLayer(_state, write_mamba2), engine=_CLASS),
)
