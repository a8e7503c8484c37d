"""Jamba: Mamba 1 layers with an attention layer per period, and experts in some layers."""

from collections.abc import Sequence

from triton_vllm_operator.capacity.model.config import ModelConfig
from triton_vllm_operator.capacity.model.family import EngineClass, Family, StateLayer
from triton_vllm_operator.capacity.model.layer_writer import LayerWriter
from triton_vllm_operator.capacity.model.shape import StateShape
from triton_vllm_operator.capacity.model.state_layers import mamba1_rank, mamba1_shape, write_mamba1


def _layer_types(config: ModelConfig) -> Sequence[str]:
    period = config.text.integer("attn_layer_period", 8)
    offset = config.text.integer("attn_layer_offset", 4, low=0)
    return ["attention" if i % period == offset else "mamba" for i in range(config.layer_count)]


def _state(config: ModelConfig) -> StateShape:
    text = config.text
    inner = int(text.number("mamba_expand", 2) * config.hidden_size)
    return mamba1_shape(inner, text.integer("mamba_d_state", 16), text.integer("mamba_d_conv", 4))


def _write_normalized(out: LayerWriter, config: ModelConfig, state: StateShape) -> None:
    write_mamba1(out, config, state)
    size = state.state_elements // state.conv_width
    out.norm("mamba.dt_layernorm", mamba1_rank(config))
    out.norm("mamba.b_layernorm", size)
    out.norm("mamba.c_layernorm", size)


FAMILIES = (
    Family(
        model_types=("jamba",),
        default_layer_types=_layer_types,
        state=StateLayer(_state, _write_normalized),
        engine=EngineClass(every_stage=frozenset({"tables", "norm"}), rotary="none"),
    ),
)
