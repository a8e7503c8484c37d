"""Gemma: tied embeddings with a normalizer, and from Gemma 2 on sliding layers between full ones."""

from triton_vllm_operator.capacity.model.config import ConfigTraits
from triton_vllm_operator.capacity.model.family import CheckpointTraits, EngineClass, Family
from triton_vllm_operator.capacity.model.layer_types import alternating, sliding_with_full_every
from triton_vllm_operator.capacity.model.shape import WeightPart

_NORMALIZER = (WeightPart("normalizer", 1, 2),)  # the embedding's scale, one 16-bit number
_TIED = ConfigTraits(ties_embeddings=True)
_GEMMA3_CONFIG = ConfigTraits(ties_embeddings=True, rope_extends_length=False)
_GEMMA3_CHECKPOINT = CheckpointTraits(norms=4, qk_norm="head")
_GEMMA3_LAYERS = sliding_with_full_every(6)
_GEMMA_CLASS = EngineClass(every_stage=frozenset({"tables", "norm"}), parts_on_every_stage=_NORMALIZER)
_GEMMA3_CLASS = EngineClass(every_stage=frozenset({"tables", "norm"}), rotary_sets=2, parts_on_every_stage=_NORMALIZER)
_OTHER_CLASS = EngineClass(parts_on_every_stage=_NORMALIZER)

FAMILIES = (
    Family(model_types=("gemma",), config=_TIED, engine=_GEMMA_CLASS),
    Family(
        model_types=("gemma2",),
        config=_TIED,
        default_layer_types=alternating,
        checkpoint=CheckpointTraits(norms=4),
        engine=_GEMMA_CLASS,
    ),
    Family(
        model_types=("gemma3_text",),
        config=_GEMMA3_CONFIG,
        default_layer_types=_GEMMA3_LAYERS,
        checkpoint=_GEMMA3_CHECKPOINT,
        engine=_GEMMA3_CLASS,
    ),
    Family(
        model_types=("gemma3",),
        config=_GEMMA3_CONFIG,
        default_layer_types=_GEMMA3_LAYERS,
        checkpoint=_GEMMA3_CHECKPOINT,
        engine=_OTHER_CLASS,
    ),
)
