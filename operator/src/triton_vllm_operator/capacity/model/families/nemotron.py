"""Nemotron, and Nemotron-H: a pattern of Mamba 2, attention, feed-forward and expert layers, one part per layer."""

from collections.abc import Sequence

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.capacity.errors import ShapeError
from triton_vllm_operator.capacity.model.config import ModelConfig
from triton_vllm_operator.capacity.model.family import CheckpointTraits, EngineClass, Family, StateLayer
from triton_vllm_operator.capacity.model.shape import StateShape, state_dtype
from triton_vllm_operator.capacity.model.state_layers import mamba2_shape, write_mamba2

_LETTERS = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}


def _layer_types(config: ModelConfig) -> Sequence[str]:
    pattern = config.text.text("hybrid_override_pattern")
    if len(pattern) < config.layer_count or not set(pattern) <= set(_LETTERS):
        raise ShapeError(
            Reason.LAYER_TYPE_UNKNOWN, "config.json: hybrid_override_pattern must name each layer by M, *, - or E"
        )
    return [_LETTERS[letter] for letter in pattern[: config.layer_count]]


def _state(config: ModelConfig) -> StateShape:
    text = config.text
    heads, head_size = text.integer("mamba_num_heads"), text.integer("mamba_head_dim")
    return mamba2_shape(
        inner=heads * head_size,
        groups=text.integer("n_groups", 8),
        heads=heads,
        head_size=head_size,
        state=text.integer("ssm_state_size"),
        taps=text.integer("conv_kernel", 4),
        dtype=state_dtype(text, "mamba_ssm_cache_dtype", "float32"),
    )


FAMILIES = (
    Family(model_types=("nemotron",), checkpoint=CheckpointTraits(norm_bias=True, gated=False)),
    Family(
        model_types=("nemotron_h",),
        default_layer_types=_layer_types,
        state=StateLayer(_state, write_mamba2),
        checkpoint=CheckpointTraits(norms=1, gated=False, feed_forward="typed"),
        engine=EngineClass(every_stage=frozenset({"tables", "norm"}), rotary="none"),
    ),
)
