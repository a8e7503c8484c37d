"""Llama 4: attention in chunks with a full layer per period, and experts with a shared one."""

from collections.abc import Sequence

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.capacity.errors import ShapeError
from triton_vllm_operator.capacity.model.config import ModelConfig
from triton_vllm_operator.capacity.model.family import CheckpointTraits, Family
from triton_vllm_operator.capacity.model.layer_types import every_nth


def _layer_types(config: ModelConfig) -> Sequence[str]:
    listed = config.text.integers("no_rope_layers")
    if not listed:
        period = config.text.integer("no_rope_layer_interval", 4)
        return every_nth(config, period, "full_attention", "chunked_attention")
    if len(listed) < config.layer_count:
        raise ShapeError(
            Reason.CONFIG_FIELD_OUT_OF_RANGE, "config.json: no_rope_layers is shorter than the number of layers"
        )
    return ["chunked_attention" if rope else "full_attention" for rope in listed[: config.layer_count]]


FAMILIES = (
    Family(
        model_types=("llama4_text",),
        default_layer_types=_layer_types,
        checkpoint=CheckpointTraits(
            qk_norm="weightless", dense_width="intermediate_size_mlp", shared_expert_is_dense=True
        ),
    ),
)
