"""`spec.rollout`: how pods of a new revision replace those of the previous one."""

from typing import Literal

from triton_vllm_operator.api.schema import Model, cel, field


class RolloutSpec(Model):
    """How pods of a new revision replace those of the previous one."""

    model_config = Model.model_config | {
        "json_schema_extra": cel(
            (
                "!(has(self.strategy) && self.strategy == 'Replace' "
                "&& has(self.maxUnavailable) && self.maxUnavailable == 0)",
                "maxUnavailable is 0, and strategy Replace deletes a pod before its successor starts: no pod would be "
                "replaced. Set maxUnavailable to 1 or more, or strategy to Auto or Surge",
            ),
            (
                "!(has(self.strategy) && self.strategy == 'Surge' "
                "&& has(self.maxUnavailable) && self.maxUnavailable > 0)",
                "strategy Surge deletes a ready pod only when its successor is ready, so maxUnavailable has no effect. "
                "Remove maxUnavailable, or set strategy to Auto or Replace",
            ),
        )
    }

    strategy: Literal["Auto", "Surge", "Replace"] = field(
        "Auto",
        description="Surge: start a new pod, and delete an old one when it is ready; needs a free GPU. Replace: delete "
        "an old pod, and start a new one on its GPU. Auto: Surge where a GPU is free, else Replace as long as another "
        "pod is ready; else wait, and report it in the condition UpToDate. Default: Auto.",
    )
    max_unavailable: int | None = field(
        ge=0,
        le=1000,
        description="Maximum number of pods that are replaced at the same time without a free GPU. With strategy Auto, "
        "0 waits for a free GPU, and the last ready pod is never among them. Default: 1.",
    )
    paused: bool = field(
        False, description="Replace no pods until it is false; a pod that ends is started again. Default: false."
    )
    progress_deadline_seconds: int | None = field(
        ge=10,
        le=86400,
        description="Seconds without a new ready pod after which a revision has failed. Default: 3600, the time that "
        "a pod may take to start and 15 minutes for its node and image.",
    )
    revision_history_limit: int = field(
        3, ge=1, le=100, description="Number of old revisions to keep for kubectl llm rollout undo. Default: 3."
    )
    on_failure: Literal["Undo", "Hold"] = field(
        "Undo",
        description="What to do when a new revision fails before all of its pods have served. Undo: restore the "
        "previous revision. Hold: replace no further pods. Either way the condition UpToDate says why, and the "
        "revision is not tried again until the spec changes. Default: Undo.",
    )
