"""MiMo-V2: a list says which layers slide; those have other heads, and V's heads have a size of their own."""

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.capacity.errors import ShapeError
from triton_vllm_operator.capacity.model.config import ConfigTraits, ModelConfig
from triton_vllm_operator.capacity.model.family import Caches, Family
from triton_vllm_operator.capacity.model.layers import attention_cache
from triton_vllm_operator.capacity.model.shape import CacheShape


def _by_pattern(config: ModelConfig) -> Caches:
    text, full = config.text, attention_cache(config)
    pattern = text.integers("hybrid_layer_pattern", high=1)
    if len(pattern) < config.layer_count:
        raise ShapeError(
            Reason.CONFIG_FIELD_OUT_OF_RANGE,
            f"config.json: hybrid_layer_pattern has {len(pattern)} entries for {config.layer_count} layers",
        )
    size = text.integer("swa_head_dim", full.head_size)
    sliding = CacheShape(
        "sliding",
        kv_heads=text.integer("swa_num_key_value_heads", full.kv_heads),
        head_size=size,
        head_size_v=text.integer("swa_v_head_dim", size),
        window=text.integer("sliding_window_size"),
    )
    return tuple((sliding if slides else full,) for slides in pattern[: config.layer_count])


FAMILIES = (
    Family(
        model_types=("mimo_v2_flash",),
        config=ConfigTraits(value_head_size="v_head_dim"),
        layer_caches=_by_pattern,
    ),
)
