"""What the status says of spec.autoscaling: `status.autoscaling` and the condition AutoscalingActive.

Loads change all the time, and the status does not: it is written when the number of pods or the reason changes, and
else at most once per minute, where something has changed that matters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from contract import ports
from triton_vllm_operator.api.conditions import Condition, ConditionType, find_in
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.api.status import AutoscalingStatus, ScalingMetricStatus
from triton_vllm_operator.observed import gpu_shortage
from triton_vllm_operator.observed.gpu_shortage import GPUUse
from triton_vllm_operator.plan.autoscaling import Decision, Limit, Metric

REWRITTEN_S = 60.0
_MATTERS = 0.25
"""Change of a metric, as a share of its target, from which on it is written."""
_PROMISED = "The number of pods follows spec.autoscaling."


@dataclass(frozen=True, slots=True)
class Scaling:
    """What is reported. `at`: seconds since which it is; None where an earlier process has reported it."""

    status: AutoscalingStatus
    condition: Condition
    at: float | None = None

    def differs(self, other: Scaling) -> bool:
        """Whether the status would be another one."""
        return (self.status, self.condition) != (other.status, other.condition)


@dataclass(frozen=True, slots=True)
class Seen:
    """What explains a decision.

    Attributes:
        ready: number of ready pods.
        errors: ready pods that could not be read, with why.
        use: who holds the GPUs; None where it is not known.
        other: HorizontalPodAutoscaler that has the same target; "" for none.
    """

    ready: int
    errors: Mapping[str, str] = field(default_factory=dict)
    use: GPUUse | None = None
    other: str = ""


def first(llm: LLMDeployment, obj: Mapping[str, Any]) -> Scaling:
    """What is reported until pods have been read: what an earlier process has reported, where there is something."""
    condition = find_in(obj, ConditionType.AUTOSCALING_ACTIVE)
    reason = Reason.parse((condition or {}).get("reason"))
    recorded = AutoscalingStatus.recorded((obj.get("status") or {}).get("autoscaling"))
    if condition is not None and reason is not None and recorded is not None:
        status = recorded.model_copy(update={"desired_replicas": llm.replicas})
        return Scaling(status, _condition(condition["status"], reason, condition["message"]))
    waits = _condition("Unknown", Reason.AUTOSCALING_STARTING, f"{_PROMISED} No pod has been read yet.")
    return Scaling(AutoscalingStatus(desired_replicas=llm.replicas), waits)


def report(llm: LLMDeployment, decision: Decision, seen: Seen, before: Scaling, now: tuple[float, str]) -> Scaling:
    """What is reported of a decision; `before` where nothing has changed that matters.

    Args:
        now: seconds, and RFC 3339 time.
    """
    seconds, time = now
    scaled = decision.desired != llm.replicas
    metrics = [_metric(one) for one in decision.metrics]
    status = AutoscalingStatus(
        desired_replicas=decision.desired,
        current_replicas=before.status.current_replicas,
        metrics=metrics if scaled or _differ(metrics, before.status.metrics) else before.status.metrics,
        decided_by=decision.by or None,
        limited_by=[str(one) for one in decision.limits],
        last_scale_time=time if scaled else before.status.last_scale_time,
    )
    found = Scaling(status, _explained(llm, decision, seen), seconds)
    recent = before.at is not None and seconds - before.at < REWRITTEN_S
    if not scaled and recent and found.condition.reason == before.condition.reason:
        return before
    return found if found.differs(before) else replace(before, at=seconds)


def _metric(metric: Metric) -> ScalingMetricStatus:
    current = None if metric.current is None else float(f"{metric.current:.3g}")
    return ScalingMetricStatus(name=metric.name, current=current, target=metric.target)


def _differ(now: Sequence[ScalingMetricStatus], before: Sequence[ScalingMetricStatus]) -> bool:
    if [(one.name, one.target) for one in now] != [(one.name, one.target) for one in before]:
        return True
    return any(_moved(one, other) for one, other in zip(now, before, strict=True))


def _moved(one: ScalingMetricStatus, other: ScalingMetricStatus) -> bool:
    if one.current is None or other.current is None:
        return one.current != other.current
    return abs(one.current - other.current) >= _MATTERS * one.target


def _explained(llm: LLMDeployment, decision: Decision, seen: Seen) -> Condition:
    if seen.other:
        return _condition("True", Reason.AUTOSCALED_TWICE, f"{twice(seen.other)} {_number(decision)}")
    if not decision.by:
        return _without_metrics(seen)
    if Limit.GPUS in decision.limits:
        more = f"{_number(decision)} The targets ask for {decision.recommended}."
        held = gpu_shortage.explain(seen.use, llm.gpus_per_pod, None) if seen.use is not None else ""
        return _condition("True", Reason.AUTOSCALING_NEEDS_GPUS, f"{more} {held}".rstrip())
    if Limit.MAXIMUM in decision.limits:
        more = f"{_number(decision)} That is spec.autoscaling.maxReplicas; the targets ask for more."
        return _condition("True", Reason.AUTOSCALING_AT_MAXIMUM, f"{more} Raise it, or the targets.")
    message = f"{_number(decision)} spec.autoscaling.target.{decision.by} asks for the most pods."
    if decision.missing:
        names = ", ".join(decision.missing)
        message += f" No ready pod reports {names}, so no pod is removed.{_first_error(seen)}"
    return _condition("True", Reason.AUTOSCALED, message)


def _number(decision: Decision) -> str:
    return f"{decision.desired} {'pod' if decision.desired == 1 else 'pods'} should run."


def _without_metrics(seen: Seen) -> Condition:
    if seen.ready == 0:
        message = "No pod is ready, so the number of pods stays as it is."
        return _condition("Unknown", Reason.AUTOSCALING_STARTING, message)
    message = f"The metrics of no ready pod can be read, so the number of pods stays as it is.{_first_error(seen)}"
    return _condition(
        "False",
        Reason.AUTOSCALING_WITHOUT_METRICS,
        f"{message} Allow connections from the namespace of the operator to port {ports.METRICS} of the pods.",
    )


def _first_error(seen: Seen) -> str:
    return next((f" Pod {name}: {why}." for name, why in sorted(seen.errors.items())), "")


def twice(other: str) -> str:
    """What to do about a HorizontalPodAutoscaler with the same target."""
    return (
        f"HorizontalPodAutoscaler {other} scales it too, which has no effect while spec.autoscaling is set. Delete the "
        "HorizontalPodAutoscaler (or KEDA's ScaledObject that made it), or remove spec.autoscaling."
    )


def other_scaler(llm: LLMDeployment, scalers: Sequence[Mapping[str, Any]]) -> str:
    """Name of a HorizontalPodAutoscaler of the namespace that scales the LLMDeployment or its Deployment, or ""."""
    for one in scalers:
        target = (one.get("spec") or {}).get("scaleTargetRef") or {}
        if target.get("kind") in ("LLMDeployment", "Deployment") and target.get("name") == llm.name:
            return str(one["metadata"]["name"])
    return ""


UNUSED_REPLICAS = (
    "spec.replicas has no effect while spec.autoscaling is set. Change spec.autoscaling.minReplicas and maxReplicas "
    "instead, or remove spec.autoscaling."
)


def with_unused_replicas(condition: Condition, obj: Mapping[str, Any], desired: int) -> Condition:
    """The condition with a note where spec.replicas was set by the scale subresource, as kubectl scale does it."""
    replicas = (obj.get("spec") or {}).get("replicas")
    scaled = any(one.get("subresource") == "scale" for one in obj["metadata"].get("managedFields") or [])
    if not scaled or replicas == desired:
        return condition
    note = f"The scale subresource has set spec.replicas to {replicas}. {UNUSED_REPLICAS}"
    return replace(condition, message=f"{condition.message} {note}")


def _condition(status: Any, reason: Reason, message: str) -> Condition:
    return Condition(ConditionType.AUTOSCALING_ACTIVE, status, reason, message)
