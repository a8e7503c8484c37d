"""GPT-2 and the decoders of its time: biases everywhere, no gate, and in some a table of learned positions."""

from dataclasses import replace

from triton_vllm_operator.capacity.model.config import ConfigTraits
from triton_vllm_operator.capacity.model.family import CheckpointTraits, EngineClass, Family

_TIED = ConfigTraits(ties_embeddings=True)
_BIASED = CheckpointTraits(norm_bias=True, qkv_bias=True, o_bias=True, mlp_bias=True, gated=False)
_LEARNED_POSITIONS = EngineClass(every_stage=frozenset({"tables", "norm", "positions"}), rotary="none")

FAMILIES = (
    Family(
        model_types=("gpt2", "gpt-sw3"),
        config=_TIED,
        checkpoint=replace(_BIASED, position_table=0),
        engine=_LEARNED_POSITIONS,
    ),
    Family(
        model_types=("opt",),
        config=_TIED,
        checkpoint=replace(_BIASED, position_table=2),
        engine=_LEARNED_POSITIONS,
    ),
    Family(model_types=("bloom",), config=_TIED, checkpoint=_BIASED, engine=EngineClass(rotary="none")),
    Family(
        model_types=("gptj",),
        checkpoint=CheckpointTraits(norms=1, norm_bias=True, mlp_bias=True, gated=False, output_bias=True),
        engine=EngineClass(every_stage=frozenset({"tables", "norm"})),
    ),
    Family(
        model_types=("phi",),
        checkpoint=replace(_BIASED, norms=1, output_bias=True),
        engine=EngineClass(rotary="frequencies"),
    ),
    Family(model_types=("gpt_neox", "starcoder2"), checkpoint=_BIASED, engine=EngineClass(rotary="frequencies")),
)
