"""OLMo from its second generation on, and OLMoE: Q and K normalized over the width of all heads."""

from triton_vllm_operator.capacity.model.family import CheckpointTraits, EngineClass, Family, StateLayer
from triton_vllm_operator.capacity.model.layer_types import sliding_with_full_every
from triton_vllm_operator.capacity.model.state_layers import gated_delta_shape, write_mamba2

_NORMALIZED = CheckpointTraits(qk_norm="width")

FAMILIES = (
    Family(model_types=("olmo2",), checkpoint=_NORMALIZED, engine=EngineClass(rotary="frequencies")),
    Family(
        model_types=("olmo3",),
        default_layer_types=sliding_with_full_every(4),
        checkpoint=_NORMALIZED,
        engine=EngineClass(rotary="frequencies", rotary_sets=2),
    ),
    Family(
        model_types=("olmoe",),
        checkpoint=_NORMALIZED,
        engine=EngineClass(every_stage=frozenset({"tables", "norm"})),
    ),
    # its linear layers are planned from the headers only: the tensors of config.json alone are not Mamba 2's
    Family(model_types=("olmo_hybrid",), state=StateLayer(gated_delta_shape, write_mamba2)),
)
