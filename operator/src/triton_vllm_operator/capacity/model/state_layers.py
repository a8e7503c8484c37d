"""Recurrent layers that several families use: Mamba 1 and 2, Gated DeltaNet and short convolutions.

The shapes of the states follow `MambaStateShapeCalculator` (`vllm/model_executor/layers/mamba/mamba_utils.py`).
"""

from triton_vllm_operator.capacity.model.config import ModelConfig
from triton_vllm_operator.capacity.model.family import StateLayer
from triton_vllm_operator.capacity.model.layer_writer import LayerWriter
from triton_vllm_operator.capacity.model.shape import StateShape, state_dtype


def gated_delta_shape(config: ModelConfig) -> StateShape:
    """State of a Gated DeltaNet layer."""
    text = config.text
    key = text.integer("linear_num_key_heads") * text.integer("linear_key_head_dim")
    value = text.integer("linear_num_value_heads") * text.integer("linear_value_head_dim")
    return StateShape(
        conv_width=2 * key + value,
        conv_taps=text.integer("linear_conv_kernel_dim", 4),
        grows_with_speculation=True,
        state_elements=value * text.integer("linear_key_head_dim"),
        state_dtype=state_dtype(text, "mamba_ssm_dtype", "auto"),
    )


def write_gated_delta(out: LayerWriter, config: ModelConfig, state: StateShape) -> None:
    """Tensors of a Gated DeltaNet layer."""
    text, hidden = config.text, config.hidden_size
    values = text.integer("linear_num_value_heads")
    value = values * text.integer("linear_value_head_dim")
    out.linear("linear_attn.in_proj_qkvz", state.conv_width + value, hidden)
    out.linear("linear_attn.in_proj_ba", 2 * values, hidden)
    out.add("linear_attn.conv1d.weight", state.conv_width, 1, text.integer("linear_conv_kernel_dim", 4))
    out.add("linear_attn.A_log", values, dtype="F32")
    out.add("linear_attn.dt_bias", values)
    out.norm("linear_attn.norm", text.integer("linear_value_head_dim"))
    out.linear("linear_attn.out_proj", hidden, value)


def mamba2_shape(
    *, inner: int, groups: int, heads: int, head_size: int, state: int, taps: int, dtype: str = "auto"
) -> StateShape:
    """State of a Mamba 2 layer: a convolution over `inner` and the groups' B and C, and `state` elements per row."""
    return StateShape(
        conv_width=inner,
        conv_taps=taps,
        groups=groups,
        group_width=2 * state,
        grows_with_speculation=True,
        state_elements=heads * head_size * state,
        state_dtype=dtype,
    )


def mamba2_heads(config: ModelConfig) -> int:
    """Heads of a Mamba 2 layer, by any of the names they have."""
    key = config.text.first("mamba_n_heads", "mamba_num_heads", "n_mamba_heads", "num_heads") or "num_heads"
    return config.text.integer(key)


def write_mamba2(out: LayerWriter, config: ModelConfig, state: StateShape) -> None:
    """Tensors of a Mamba 2 layer."""
    heads, inner, grouped = mamba2_heads(config), state.conv_width, state.groups * state.group_width
    out.linear("mamba.in_proj", 2 * inner + grouped + heads, config.hidden_size)
    out.add("mamba.conv1d.weight", inner + grouped, 1, state.conv_taps)
    out.add("mamba.conv1d.bias", inner + grouped)
    out.add("mamba.A_log", heads, dtype="F32")
    out.add("mamba.D", heads)
    out.add("mamba.dt_bias", heads)
    out.add("mamba.norm.weight", inner)
    out.linear("mamba.out_proj", config.hidden_size, inner)


def mamba1_shape(inner: int, state: int, taps: int) -> StateShape:
    """State of a Mamba 1 layer of `inner` channels with `state` elements each."""
    return StateShape(conv_width=inner, conv_taps=taps, state_elements=inner * state)


def mamba1_rank(config: ModelConfig) -> int:
    """Rank of the time step's projection in a Mamba 1 layer."""
    key = config.text.first("mamba_dt_rank", "time_step_rank")
    return config.text.integer(key) if key else -(-config.hidden_size // 16)


def write_mamba1(out: LayerWriter, config: ModelConfig, state: StateShape) -> None:
    """Tensors of a Mamba 1 layer."""
    inner = state.conv_width
    size, rank = state.state_elements // inner, mamba1_rank(config)
    out.linear("mamba.in_proj_qkv", 2 * inner, config.hidden_size)
    out.add("mamba.conv1d.weight", inner, 1, state.conv_taps)
    out.add("mamba.conv1d.bias", inner)
    out.linear("mamba.x_proj", rank + 2 * size, inner)
    out.linear("mamba.dt_proj", inner, rank, bias=True)
    out.add("mamba.A_log", inner, size, dtype="F32")
    out.add("mamba.D", inner)
    out.linear("mamba.out_proj", config.hidden_size, inner)


def short_conv_shape(config: ModelConfig) -> StateShape:
    """State of a short convolution, which has no recurrence."""
    text = config.text
    return StateShape(
        conv_width=text.integer("conv_dim", config.hidden_size), conv_taps=text.integer("conv_L_cache", 3)
    )


def write_short_conv(out: LayerWriter, config: ModelConfig, state: StateShape) -> None:
    """Tensors of a short convolution."""
    out.linear("conv.in_proj_qkv", 3 * state.conv_width, config.hidden_size)
    out.add("conv.conv1d.weight", state.conv_width, 1, config.text.integer("conv_L_cache", 3))
    out.linear("conv.out_proj", config.hidden_size, state.conv_width)


GATED_DELTA = StateLayer(gated_delta_shape, write_gated_delta)
SHORT_CONV = StateLayer(short_conv_shape, write_short_conv)
