"""EXAONE 4, dense and as a mixture of experts: sliding layers with a full one at the end of each period."""

from triton_vllm_operator.capacity.model.family import CheckpointTraits, Family
from triton_vllm_operator.capacity.model.layer_types import sliding_with_full_every

FAMILIES = (
    Family(
        model_types=("exaone4", "exaone_moe"),
        default_layer_types=sliding_with_full_every(4),
        checkpoint=CheckpointTraits(qk_norm="head"),
    ),
)
