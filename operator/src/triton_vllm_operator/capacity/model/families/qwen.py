"""Qwen 2 and 3, dense and as mixtures of experts; Qwen3-Next and Qwen3.5 with Gated DeltaNet layers."""

from collections.abc import Sequence
from dataclasses import replace

from triton_vllm_operator.capacity.model.config import ConfigTraits, ModelConfig
from triton_vllm_operator.capacity.model.family import CheckpointTraits, EngineClass, Family
from triton_vllm_operator.capacity.model.layer_types import linear_with_full_every_nth
from triton_vllm_operator.capacity.model.state_layers import GATED_DELTA

_EMBEDDING_ON_EVERY_STAGE = EngineClass(every_stage=frozenset({"embedding"}))
_CONFIG = ConfigTraits(window_needs_switch=True)
_MOE_CLASS = EngineClass(every_stage=frozenset({"tables", "norm"}), one_expert_per_rank=True)


def _sliding_from_a_layer_on(config: ModelConfig) -> Sequence[str] | None:
    if not config.sliding_window:
        return None
    first = config.text.integer("max_window_layers", 28, low=0)
    return ["sliding_attention" if i >= first else "full_attention" for i in range(config.layer_count)]


_HYBRID = Family(
    model_types=("qwen3_5",),
    config=_CONFIG,
    default_layer_types=linear_with_full_every_nth,
    state=GATED_DELTA,
    engine=_EMBEDDING_ON_EVERY_STAGE,
)

FAMILIES = (
    Family(
        model_types=("qwen2", "qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text"),
        config=_CONFIG,
        default_layer_types=_sliding_from_a_layer_on,
        checkpoint=CheckpointTraits(qkv_bias=True),
    ),
    Family(
        model_types=("qwen2_moe",),
        config=_CONFIG,
        checkpoint=CheckpointTraits(qkv_bias=True, shared_expert_gate=True),
        engine=_MOE_CLASS,
    ),
    Family(
        model_types=("qwen3", "qwen3_vl_text"),
        config=_CONFIG,
        default_layer_types=_sliding_from_a_layer_on,
        checkpoint=CheckpointTraits(qk_norm="head"),
    ),
    Family(
        model_types=("qwen3_moe", "qwen3_vl_moe_text"),
        config=_CONFIG,
        checkpoint=CheckpointTraits(qk_norm="head"),
        engine=_MOE_CLASS,
    ),
    replace(
        _HYBRID,
        model_types=("qwen3_next",),
        checkpoint=CheckpointTraits(qk_norm="head", query_gate=True, shared_expert_gate=True),
        engine=EngineClass(every_stage=frozenset({"tables"}), one_expert_per_rank=True),
    ),
    _HYBRID,
    replace(_HYBRID, model_types=("qwen3_5_text",), checkpoint=CheckpointTraits(query_gate=True)),
    replace(_HYBRID, model_types=("qwen3_5_moe",), checkpoint=CheckpointTraits(shared_expert_gate=True)),
    replace(
        _HYBRID,
        model_types=("qwen3_5_moe_text",),
        checkpoint=CheckpointTraits(query_gate=True, shared_expert_gate=True),
    ),
)
