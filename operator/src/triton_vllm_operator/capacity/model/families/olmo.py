"""OLMo from its second generation on, and OLMoE: Q and K normalized over the width of all heads."""

from triton_vllm_operator.capacity.model.config import ModelConfig
from triton_vllm_operator.capacity.model.family import CheckpointTraits, EngineClass, Family, StateLayer
from triton_vllm_operator.capacity.model.layer_types import sliding_with_full_every
from triton_vllm_operator.capacity.model.layer_writer import LayerWriter
from triton_vllm_operator.capacity.model.shape import StateShape
from triton_vllm_operator.capacity.model.state_layers import gated_delta_shape

_NORMALIZED = CheckpointTraits(qk_norm="width")


def _write_delta(out: LayerWriter, config: ModelConfig, state: StateShape) -> None:
    """Tensors of a Gated DeltaNet layer whose projections and convolutions are each a tensor of their own."""
    text, hidden = config.text, config.hidden_size
    values = text.integer("linear_num_value_heads")
    value = values * text.integer("linear_value_head_dim")
    key = (state.conv_width - value) // 2
    for name, rows in (("q_proj", key), ("k_proj", key), ("v_proj", value), ("g_proj", value)):
        out.linear(f"linear_attn.{name}", rows, hidden)
    for name, rows in (("q", key), ("k", key), ("v", value)):
        out.add(f"linear_attn.{name}_conv1d.weight", rows, 1, state.conv_taps)
    out.linear("linear_attn.a_proj", values, hidden)
    out.linear("linear_attn.b_proj", values, hidden)
    out.linear("linear_attn.o_proj", hidden, value)
    out.norm("linear_attn.o_norm", text.integer("linear_value_head_dim"))
    out.add("linear_attn.A_log", values, dtype="F32")
    out.add("linear_attn.dt_bias", values)


FAMILIES = (
    Family(model_types=("olmo",), checkpoint=CheckpointTraits(norms=0)),  # its normalizations have no weights
    Family(model_types=("olmo2",), checkpoint=_NORMALIZED, engine=EngineClass(rotary="frequencies")),
    Family(
        model_types=("olmo3",),
        default_layer_types=sliding_with_full_every(4),
        checkpoint=_NORMALIZED,
        engine=EngineClass(rotary="frequencies", rotary_sets=2),
    ),
    Family(
        model_types=("olmoe",),
        checkpoint=_NORMALIZED,
        engine=EngineClass(every_stage=frozenset({"tables", "norm"})),
    ),
    Family(
        model_types=("olmo_hybrid",),
        state=StateLayer(gated_delta_shape, _write_delta),
        checkpoint=_NORMALIZED,
        engine=EngineClass(every_stage=frozenset({"tables", "norm"})),
    ),
)
