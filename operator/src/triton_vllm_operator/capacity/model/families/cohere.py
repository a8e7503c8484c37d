"""Cohere's Command models: tied embeddings, one normalization per layer, from Command R7B on sliding layers."""

from triton_vllm_operator.capacity.model.config import ConfigTraits
from triton_vllm_operator.capacity.model.family import CheckpointTraits, EngineClass, Family
from triton_vllm_operator.capacity.model.layer_types import sliding_with_full_every

_TIED = ConfigTraits(ties_embeddings=True)
_CLASS = EngineClass(every_stage=frozenset({"tables", "norm"}))

FAMILIES = (
    Family(
        model_types=("cohere",),
        config=_TIED,
        checkpoint=CheckpointTraits(norms=1, attention_bias_on_output=False),
        engine=_CLASS,
    ),
    Family(
        model_types=("cohere2", "cohere2_moe"),
        config=_TIED,
        default_layer_types=sliding_with_full_every(4),
        window_without_query=True,
        checkpoint=CheckpointTraits(norms=1),
        engine=_CLASS,
    ),
)
