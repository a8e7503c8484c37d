"""How many pods should run: the documented algorithm of Kubernetes' HorizontalPodAutoscaler, and the free GPUs.

`decide` is a pure function. Per target: the average of the ready pods divided by the target, times their number, and no
change within the tolerance; pods that report nothing count as exactly the target on the way down and as 0 on the way
up; pods that still load count as 0 on the way up. The largest of these numbers is then limited, in this order:
stabilization window, policies, minReplicas and maxReplicas, rollout, GPUs. Source:
https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal

from triton_vllm_operator.api.spec import AutoscalingSpec, ScalingPolicy, ScalingRules

TOLERANCE = 0.1
DOWN_WINDOW_S = 300
_UP_POLICIES = (
    ScalingPolicy(type="Pods", value=4, period_seconds=15),
    ScalingPolicy(type="Percent", value=100, period_seconds=15),
)
_DOWN_POLICIES = (ScalingPolicy(type="Percent", value=100, period_seconds=15),)
_KEPT_S = 3600.0
_EXACT = 1e-9
"""What arithmetic of floats may add to a whole number."""


class Limit(StrEnum):
    """What kept the number of pods from what the targets ask for, as in `status.autoscaling.limitedBy`."""

    WINDOW = "StabilizationWindow"
    POLICY = "Policy"
    MINIMUM = "MinReplicas"
    MAXIMUM = "MaxReplicas"
    MISSING = "MissingMetrics"
    ROLLOUT = "Rollout"
    GPUS = "GPUs"


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What the targets asked for at a time in seconds."""

    at: float
    replicas: int


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the number of pods at a time in seconds; negative for fewer pods."""

    at: float
    pods: int


@dataclass(frozen=True, slots=True)
class History:
    """What was recommended, and what was changed, within the longest window."""

    recommendations: tuple[Recommendation, ...] = ()
    changes: tuple[Change, ...] = ()

    def recommended(self, replicas: int, now: float) -> History:
        """The history with one more recommendation."""
        kept = tuple(one for one in self.recommendations if one.at > now - _KEPT_S)
        return replace(self, recommendations=(*kept, Recommendation(now, replicas)))

    def changed(self, pods: int, now: float) -> History:
        """The history with one more change."""
        kept = tuple(one for one in self.changes if one.at > now - _KEPT_S)
        return replace(self, changes=(*kept, Change(now, pods)))


@dataclass(frozen=True, slots=True)
class ScalingState:
    """What a decision depends on.

    Attributes:
        replicas: number of pods that should run by the last decision.
        pods: what each ready pod reports, by target; a target that it does not report is absent.
        loading: pods that are not ready yet, or that are yet to be created.
        now: seconds.
        placed: pods that have a node, and so their GPUs.
        room: further pods for which GPUs are free, by the same lists as `placed`, so that no pod counts in both; None
            where it is not known.
        replacing: whether a rollout has pods to replace.
    """

    replicas: int
    pods: Sequence[Mapping[str, float]]
    loading: int
    spec: AutoscalingSpec
    history: History = History()
    now: float = 0.0
    placed: int = 0
    room: int | None = None
    replacing: bool = False


@dataclass(frozen=True, slots=True)
class Metric:
    """A target with the average of the pods that report it; None where no pod does."""

    name: str
    current: float | None
    target: float


@dataclass(frozen=True, slots=True)
class Decision:
    """How many pods should run.

    Attributes:
        desired: with all limits.
        recommended: what the targets ask for, for the history.
        by: the target that asks for the most pods; "" where none was reported.
        limits: what changed the number, in the order in which it was applied.
        missing: targets that no ready pod reports.
    """

    desired: int
    recommended: int
    metrics: tuple[Metric, ...]
    by: str = ""
    limits: tuple[Limit, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass
class _Limited:
    """A number of pods and what has limited it."""

    value: int
    limits: list[Limit] = field(default_factory=list)

    def to(self, value: int, why: Limit) -> None:
        if value != self.value:
            self.value = value
            self.limits.append(why)


def decide(state: ScalingState) -> Decision:
    """Decide how many pods should run."""
    targets = state.spec.target.values
    metrics = tuple(Metric(name, _average(name, state.pods), target) for name, target in targets.items())
    known = {one.name: _replicas_for(one, state) for one in metrics if one.current is not None}
    missing = tuple(one.name for one in metrics if one.current is None)
    if not known:
        limits = (Limit.MISSING,) if state.pods else ()
        return Decision(state.replicas, state.replicas, metrics, limits=limits, missing=missing)
    by = max(known, key=lambda name: known[name])
    found = _Limited(known[by])
    if missing:
        found.to(max(found.value, state.replicas), Limit.MISSING)
    recommended = found.value
    found.to(_stabilized(recommended, state), Limit.WINDOW)
    found.to(_allowed(found.value, state), Limit.POLICY)
    found.to(max(found.value, state.spec.min_replicas), Limit.MINIMUM)
    found.to(min(found.value, state.spec.max_replicas), Limit.MAXIMUM)
    if state.replacing:
        found.to(max(found.value, state.replicas), Limit.ROLLOUT)
    if state.room is not None:
        found.to(min(found.value, max(state.replicas, state.placed + state.room)), Limit.GPUS)
    return Decision(found.value, recommended, metrics, by, tuple(found.limits), missing)


def _average(name: str, pods: Iterable[Mapping[str, float]]) -> float | None:
    values = [pod[name] for pod in pods if name in pod]
    return sum(values) / len(values) if values else None


def _replicas_for(metric: Metric, state: ScalingState) -> int:
    """The number of pods that one target asks for."""
    assert metric.current is not None
    reported = sum(1 for pod in state.pods if metric.name in pod)
    silent = len(state.pods) - reported
    ratio = metric.current / metric.target
    loading = state.loading if ratio > 1 else 0
    if not silent and not loading:
        return state.replicas if _tolerated(ratio, state) else _ceil(ratio * reported)
    # What is missing counts as the target on the way down, and as nothing on the way up.
    assumed = silent * metric.target if ratio < 1 else 0.0
    counted = reported + silent + loading
    cautious = (metric.current * reported + assumed) / (counted * metric.target)
    if _tolerated(cautious, state) or (ratio < 1) != (cautious < 1):
        return state.replicas
    found = _ceil(cautious * counted)
    if (found > state.replicas) if cautious < 1 else (found < state.replicas):
        return state.replicas
    return found


def _tolerated(ratio: float, state: ScalingState) -> bool:
    behavior = state.spec.behavior
    return 1 - _tolerance(behavior.scale_down) - _EXACT <= ratio <= 1 + _tolerance(behavior.scale_up) + _EXACT


def _tolerance(rules: ScalingRules) -> float:
    return TOLERANCE if rules.tolerance is None else rules.tolerance


def _ceil(value: float) -> int:
    return math.ceil(value - _EXACT)


def _stabilized(recommended: int, state: ScalingState) -> int:
    """The most cautious recommendation of each direction's window."""
    behavior = state.spec.behavior
    up = _within(state, behavior.scale_up.stabilization_window_seconds or 0)
    window = behavior.scale_down.stabilization_window_seconds
    down = _within(state, DOWN_WINDOW_S if window is None else window)
    lowest = min([recommended, *up])
    highest = max([recommended, *down])
    return min(max(state.replicas, lowest), highest)


def _within(state: ScalingState, seconds: int) -> list[int]:
    return [one.replicas for one in state.history.recommendations if one.at > state.now - seconds]


def _allowed(desired: int, state: ScalingState) -> int:
    """The number that the policies of the direction allow now."""
    behavior = state.spec.behavior
    if desired > state.replicas:
        limit = _policy_limit(behavior.scale_up, _UP_POLICIES, 1, state)
        return min(desired, max(limit, state.replicas))
    if desired < state.replicas:
        limit = _policy_limit(behavior.scale_down, _DOWN_POLICIES, -1, state)
        return max(desired, min(limit, state.replicas))
    return desired


def _policy_limit(
    rules: ScalingRules, default: Sequence[ScalingPolicy], sign: Literal[1, -1], state: ScalingState
) -> int:
    if rules.select_policy == "Disabled":
        return state.replicas
    limits = [_limit_of(policy, sign, state) for policy in rules.policies or default]
    furthest = (rules.select_policy == "Max") == (sign == 1)
    return max(limits) if furthest else min(limits)


def _limit_of(policy: ScalingPolicy, sign: Literal[1, -1], state: ScalingState) -> int:
    recent = sum(one.pods for one in state.history.changes if one.at > state.now - policy.period_seconds)
    start = state.replicas - recent
    if policy.type == "Pods":
        return start + sign * policy.value
    part = start * (1 + sign * policy.value / 100)
    return _ceil(part) if sign == 1 else math.trunc(part)
