"""Kimi Linear: layers of Kimi Delta Attention, and MLA layers without rotation at the numbers that the file lists."""

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.capacity.errors import ShapeError
from triton_vllm_operator.capacity.model.config import ConfigTraits, ModelConfig
from triton_vllm_operator.capacity.model.family import Caches, CheckpointTraits, EngineClass, Family, StateLayer
from triton_vllm_operator.capacity.model.json_reader import MAX_LAYERS, Reader
from triton_vllm_operator.capacity.model.layer_writer import LayerWriter
from triton_vllm_operator.capacity.model.layers import mla_cache
from triton_vllm_operator.capacity.model.shape import CacheShape, StateShape


def _linear(config: ModelConfig) -> Reader:
    block = config.text.nested("linear_attn_config")
    if block is None:
        raise ShapeError(
            Reason.CONFIG_FIELD_MISSING, "config.json has no 'linear_attn_config'; use the file of the checkpoint"
        )
    return block


def _width(linear: Reader) -> int:
    return linear.integer("num_heads") * linear.integer("head_dim")


def _state(config: ModelConfig) -> StateShape:
    linear = _linear(config)
    width = _width(linear)
    return StateShape(
        conv_width=3 * width,
        conv_taps=linear.integer("short_conv_kernel_size", 4),
        grows_with_speculation=True,
        state_elements=width * linear.integer("head_dim"),
        state_dtype="float32",
    )


def _caches(config: ModelConfig) -> Caches:
    listed = set(_linear(config).integers("kda_layers", low=1, high=MAX_LAYERS))  # counted from 1
    state = CacheShape("mamba", state=_state(config))
    return tuple((state if layer + 1 in listed else mla_cache(config),) for layer in range(config.layer_count))


def _write(out: LayerWriter, config: ModelConfig, state: StateShape) -> None:
    """Tensors of a layer of Kimi Delta Attention: gates f and g are two narrow projections each."""
    linear, hidden = _linear(config), config.hidden_size
    heads, size, width = linear.integer("num_heads"), linear.integer("head_dim"), _width(linear)
    for name in ("q", "k", "v"):
        out.linear(f"self_attn.{name}_proj", width, hidden)
        out.add(f"self_attn.{name}_conv1d.weight", width, 1, state.conv_taps)
    for name in ("f", "g"):
        out.linear(f"self_attn.{name}_a_proj", size, hidden)
        out.linear(f"self_attn.{name}_b_proj", width, size)
    out.linear("self_attn.b_proj", heads, hidden)
    out.linear("self_attn.o_proj", hidden, width)
    out.norm("self_attn.o_norm", size)
    out.add("self_attn.A_log", heads, dtype="F32")
    out.add("self_attn.dt_bias", width, dtype="F32")


FAMILIES = (
    Family(
        model_types=("kimi_linear",),
        config=ConfigTraits(mla=True),
        layer_caches=_caches,
        state=StateLayer(_state, _write),
        checkpoint=CheckpointTraits(router_correction=True),
        engine=EngineClass(rotary="none"),
    ),
)
