"""`spec.planning`: whether the operator plans memory before it creates pods."""

from typing import Literal

from triton_vllm_operator.api.schema import Model, field


class PlanningSpec(Model):
    """Whether the operator plans the model's GPU memory before it creates pods."""

    mode: Literal["Enforce", "Advise", "Off"] = field(
        "Enforce",
        description="Enforce: create no pods for a model that cannot be loaded or does not fit the GPUs. Advise: plan "
        "and choose values, but only report such problems in the conditions. Off: neither read the model nor plan. "
        "Default: Enforce.",
    )
