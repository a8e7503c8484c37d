"""DeepSeek and the models that keep a latent (MLA) cache as it does."""

from triton_vllm_operator.capacity.model.config import ConfigTraits
from triton_vllm_operator.capacity.model.family import CheckpointTraits, Family

_MLA = ConfigTraits(mla=True)

FAMILIES = (
    Family(model_types=("deepseek_v2",), config=_MLA, checkpoint=CheckpointTraits(attention_bias_on_output=False)),
    Family(
        model_types=("deepseek_v3",),
        config=_MLA,
        checkpoint=CheckpointTraits(attention_bias_on_output=False, router_correction=True),
    ),
    Family(
        model_types=(
            "axk1",
            "bailing_hybrid",
            "deepseek_mtp",
            "deepseek_v32",
            "glm4_moe_lite",
            "glm_moe_dsa",
            "kimi_k2",
            "kimi_linear",
            "pangu_ultra_moe",
        ),
        config=_MLA,
    ),
)
