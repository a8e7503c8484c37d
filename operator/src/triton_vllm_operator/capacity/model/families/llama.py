"""Decoders of equal layers of attention and feed-forward, as Llama's, and what each adds to that."""

from triton_vllm_operator.capacity.model.family import CheckpointTraits, EngineClass, Family

_NORM_ON_EVERY_STAGE = EngineClass(every_stage=frozenset({"tables", "norm"}))

FAMILIES = (
    Family(
        model_types=(
            "llama",
            "mistral",
            "ministral3",
            "granite",
            "phi3",
            "smollm3",
            "seed_oss",
            "ernie4_5",
            "cwm",
            "aria_text",
            "paddleocr_vl_text",
        )
    ),
    Family(model_types=("arcee",), checkpoint=CheckpointTraits(gated=False)),
    Family(model_types=("mixtral",), engine=_NORM_ON_EVERY_STAGE),
    Family(model_types=("minimax_m2", "ernie4_5_moe"), engine=EngineClass(one_expert_per_rank=True)),
    Family(
        model_types=("phimoe",),
        checkpoint=CheckpointTraits(norm_bias=True, qkv_bias=True, o_bias=True, output_bias=True),
        engine=_NORM_ON_EVERY_STAGE,
    ),
    Family(model_types=("stablelm",), checkpoint=CheckpointTraits(norm_bias=True), engine=_NORM_ON_EVERY_STAGE),
)
