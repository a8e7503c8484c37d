"""LFM2: short convolutions with some attention layers between them."""

from collections.abc import Sequence

from triton_vllm_operator.capacity.model.config import ModelConfig
from triton_vllm_operator.capacity.model.family import CheckpointTraits, EngineClass, Family
from triton_vllm_operator.capacity.model.state_layers import SHORT_CONV


def _layer_types(config: ModelConfig) -> Sequence[str]:
    full = set(config.text.integers("full_attn_idxs")) or set(range(config.layer_count))
    return ["full_attention" if i in full else "conv" for i in range(config.layer_count)]


_CHECKPOINT = CheckpointTraits(qk_norm="head")

FAMILIES = (
    Family(model_types=("lfm2",), default_layer_types=_layer_types, state=SHORT_CONV, checkpoint=_CHECKPOINT),
    Family(
        model_types=("lfm2_moe",),
        default_layer_types=_layer_types,
        state=SHORT_CONV,
        checkpoint=_CHECKPOINT,
        engine=EngineClass(one_expert_per_rank=True),
    ),
)
