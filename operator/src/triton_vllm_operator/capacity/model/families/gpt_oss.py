"""gpt-oss: sliding and full attention in turn, with attention sinks; experts with biases."""

from triton_vllm_operator.capacity.model.config import ModelConfig
from triton_vllm_operator.capacity.model.family import Caches, CheckpointTraits, EngineClass, Family
from triton_vllm_operator.capacity.model.layers import attention_cache


def _sliding_in_turn(config: ModelConfig) -> Caches:
    # the engine alternates by index, whatever layer_types says
    window = config.sliding_window or 0
    return tuple((attention_cache(config, 0 if i % 2 else window),) for i in range(config.layer_count))


FAMILIES = (
    Family(
        model_types=("gpt_oss",),
        layer_caches=_sliding_in_turn,
        checkpoint=CheckpointTraits(qkv_bias=True, o_bias=True, expert_bias=True),
        engine=EngineClass(
            every_stage=frozenset({"tables", "norm"}), rotary_bytes=4, attention_sinks=True, largest_capture_size=1024
        ),
    ),
)
