"""GLM-4: four normalizations per layer; as a mixture of experts a router in 32 bits with a correction bias."""

from triton_vllm_operator.capacity.model.family import CheckpointTraits, EngineClass, Family

FAMILIES = (
    Family(model_types=("glm4v_text",)),
    Family(model_types=("glm",), checkpoint=CheckpointTraits(attention_bias_on_output=False)),
    Family(model_types=("glm4",), checkpoint=CheckpointTraits(norms=4, attention_bias_on_output=False)),
    Family(
        model_types=("glm4_moe",),
        checkpoint=CheckpointTraits(attention_bias_on_output=False, router_correction=True),
        engine=EngineClass(router_bytes=4),
    ),
)
