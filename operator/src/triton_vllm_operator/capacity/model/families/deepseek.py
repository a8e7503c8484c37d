"""DeepSeek and the models that keep a latent (MLA) cache as it does."""

from triton_vllm_operator.capacity.model.config import ConfigTraits, ModelConfig
from triton_vllm_operator.capacity.model.family import Caches, CheckpointTraits, Family
from triton_vllm_operator.capacity.model.layers import indexer_cache, mla_cache

_MLA = ConfigTraits(mla=True)


def _has_indexer(config: ModelConfig, layer: int) -> bool:
    """Whether a layer has an indexer of its own, or uses the tokens that an earlier layer selected."""
    pattern = config.text.text("index_topk_pattern")
    if pattern:
        return layer >= len(pattern) or pattern[layer] != "S"
    period, offset = config.text.integer("index_topk_freq", 1), config.text.integer("index_skip_topk_offset", 2, low=0)
    return max(layer - offset + 1, 0) % period == 0


def _sparse(config: ModelConfig) -> Caches:
    both = (mla_cache(config), indexer_cache(config))
    return tuple(both if _has_indexer(config, layer) else both[:1] for layer in range(config.layer_count))


FAMILIES = (
    Family(model_types=("deepseek_v2",), config=_MLA, checkpoint=CheckpointTraits(attention_bias_on_output=False)),
    Family(
        model_types=("deepseek_v3", "kimi_k2"),
        config=_MLA,
        checkpoint=CheckpointTraits(attention_bias_on_output=False, router_correction=True),
    ),
    Family(model_types=("axk1", "glm4_moe_lite"), config=_MLA),
    Family(
        model_types=("deepseek_v32", "glm_moe_dsa"),
        config=_MLA,
        layer_caches=_sparse,
        checkpoint=CheckpointTraits(attention_bias_on_output=False, router_correction=True),
    ),
)
