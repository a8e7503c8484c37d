"""`spec.planning`: whether the operator plans memory before it creates pods."""

from typing import Literal

from triton_vllm_operator.api.schema import Model, field


class PlanningSpec(Model):
    """Whether the operator learns what the model needs before pods may hold GPUs."""

    mode: Literal["Enforce", "Advise", "Off"] = field(
        "Enforce",
        description="Enforce makes no pods for a model that cannot be loaded or does not fit the GPUs; "
        "Advise reads and chooses, and only says so in the conditions; Off neither reads the model nor plans.",
    )
