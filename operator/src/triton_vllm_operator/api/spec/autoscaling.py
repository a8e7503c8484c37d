"""`spec.autoscaling`: the number of pods follows what the pods themselves report."""

from typing import Literal

from pydantic import Field

from triton_vllm_operator.api.schema import Model, cel, field

_MAX_WINDOW_S = 3600
_MAX_PERIOD_S = 1800
_SCALE_UP = "Limits of scaling up. Default: no stabilization; per 15 seconds 4 pods or 100 percent, whichever is more."
_SCALE_DOWN = "Limits of scaling down. Default: a stabilization window of 300 seconds, and no other limit."


class AutoscalingTarget(Model):
    """Average values per ready pod. With several, the one that needs the most pods decides."""

    model_config = Model.model_config | {
        "json_schema_extra": cel(
            (
                "has(self.inFlightPerReplica) || has(self.waitingPerReplica) || has(self.kvCacheUsage) "
                "|| has(self.tokensPerSecondPerReplica)",
                "autoscaling needs a target. Set inFlightPerReplica, waitingPerReplica, kvCacheUsage or "
                "tokensPerSecondPerReplica",
            ),
        )
    }

    in_flight_per_replica: float | None = field(
        gt=0,
        le=1_000_000,
        description="Number of requests in the batch and in the queue of a pod's engine. Needs the operator's own "
        "serving image.",
    )
    waiting_per_replica: float | None = field(
        gt=0,
        le=1_000_000,
        description="Number of requests in the queue of a pod's engine. Needs the operator's own serving image.",
    )
    kv_cache_usage: float | None = field(
        gt=0,
        le=1,
        description="Used share of a pod's KV cache, for example 0.7. Needs the operator's own serving image.",
    )
    tokens_per_second_per_replica: float | None = field(
        gt=0,
        le=1_000_000_000,
        description="Tokens per second that a pod generates. Models that generate no text have none.",
    )

    @property
    def values(self) -> dict[str, float]:
        """The targets that are set, by the names of their fields in the custom resource."""
        return self.model_dump(by_alias=True, exclude_none=True)


class ScalingPolicy(Model):
    """A limit of one direction, as in autoscaling/v2."""

    type: Literal["Pods", "Percent"] = Field(description="Unit of value: pods, or percent of the pods there were.")
    value: int = Field(ge=1, le=1_000_000, description="Maximum change within the period.")
    period_seconds: int = Field(ge=1, le=_MAX_PERIOD_S, description="Length of the period in seconds.")


class ScalingRules(Model):
    """Limits of one direction, as in autoscaling/v2."""

    stabilization_window_seconds: int | None = field(
        ge=0,
        le=_MAX_WINDOW_S,
        description="Seconds of earlier decisions of which the most cautious one counts. Default: 0 for scaling up, "
        "300 for scaling down.",
    )
    select_policy: Literal["Max", "Min", "Disabled"] = field(
        "Max",
        description="Which of the policies counts: Max, the one that allows the largest change; Min, the smallest. "
        "Disabled: no scaling in this direction. Default: Max.",
    )
    policies: list[ScalingPolicy] = field(
        [], max_length=16, description="Limits. Default for scaling up: 4 pods or 100 percent per 15 seconds."
    )
    tolerance: float | None = field(
        ge=0,
        le=10,
        description="Deviation from the target, as a share of it, that changes nothing. Default: 0.1.",
    )


class AutoscalingBehavior(Model):
    """How fast the number of pods may change, as in autoscaling/v2."""

    scale_up: ScalingRules = field(ScalingRules(), description=_SCALE_UP)
    scale_down: ScalingRules = field(ScalingRules(), description=_SCALE_DOWN)


class AutoscalingSpec(Model):
    """The number of pods follows what the pods themselves report. Needs neither Prometheus nor KEDA."""

    model_config = Model.model_config | {
        "json_schema_extra": cel(
            (
                "(has(self.minReplicas) ? self.minReplicas : 1) <= self.maxReplicas",
                "minReplicas is above maxReplicas. Lower minReplicas, or raise maxReplicas",
            ),
        )
    }

    min_replicas: int = field(1, ge=1, le=1000, description="Minimum number of pods. Default: 1.")
    max_replicas: int = Field(ge=1, le=1000, description="Maximum number of pods.")
    target: AutoscalingTarget = Field(
        description="Average values per ready pod. With several, the one that needs the most pods decides."
    )
    behavior: AutoscalingBehavior = field(
        AutoscalingBehavior(), description="How fast the number of pods may change, as in autoscaling/v2."
    )

    def within(self, replicas: int) -> int:
        """The nearest number of pods that is allowed."""
        return min(max(replicas, self.min_replicas), self.max_replicas)
