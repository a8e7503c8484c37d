"""Registry of condition types, and the rules by which conditions get into `status.conditions` and become events.

To add a condition, add a member to `ConditionType` and the function that computes it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from triton_vllm_operator.api.reasons import Reason

Status = Literal["True", "False", "Unknown"]
Mark = Literal["ok", "no", "?"]
"""Mark of a step in `kubectl llm explain`: it is true, it is not, or it is not known."""


class Outcome(StrEnum):
    """How a reconcile ended."""

    OBSERVED = "observed"
    """The children were applied, and their state was read: every condition is computed."""
    REJECTED = "rejected"
    """The spec was rejected."""
    HELD = "held"
    """No pods are created, because of the inspection or the plan."""
    BLOCKED = "blocked"
    """An error keeps the operator from going on."""


_KEPT = frozenset({Outcome.REJECTED, Outcome.HELD, Outcome.BLOCKED})
"""For what is true of the pods, the image and the model whatever the spec says now."""


@dataclass(frozen=True, slots=True)
class EventRule:
    """When a new reason of a condition becomes an event, and of which type.

    Attributes:
        action: of the event, in CamelCase.
        normal: statuses that become an event of type Normal.
        warning: statuses that become an event of type Warning.
        warning_reasons: reasons that become an event of type Warning with any status.
    """

    action: str
    normal: frozenset[Status] = frozenset()
    warning: frozenset[Status] = frozenset()
    warning_reasons: frozenset[Reason] = frozenset()

    def event_type(self, condition: Mapping[str, Any]) -> Literal["Normal", "Warning"] | None:
        """The type of the event, or None if there is none."""
        if condition["status"] in self.normal:
            return "Normal"
        warns = condition["status"] in self.warning or condition["reason"] in self.warning_reasons
        return "Warning" if warns else None


class ConditionType(StrEnum):
    """Type of a condition. The order is that of `kubectl llm explain`.

    Attributes:
        meaning: what it says when it is True, in one sentence.
        producer: module that computes it.
        kept_when: outcomes that do not change it unless they compute it.
        event: when a change becomes an event; None: never.
        label: name of its step in `kubectl llm explain`; "" if it has none.
        marks: its mark there by status; it has no step with any other status.
        follows_pods: whether its step comes after that of the pods.
    """

    meaning: str
    producer: str
    kept_when: frozenset[Outcome]
    event: EventRule | None
    label: str
    marks: Mapping[Status, Mark]
    follows_pods: bool

    def __new__(
        cls,
        value: str,
        meaning: str = "",
        producer: str = "",
        kept_when: frozenset[Outcome] = frozenset(),
        event: EventRule | None = None,
        label: str = "",
        marks: Mapping[Status, Mark] | None = None,
        follows_pods: bool = False,
    ) -> "ConditionType":
        """Create a member; Python calls this once for each row below."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning, member.producer, member.kept_when = meaning, producer, kept_when
        member.event, member.label, member.marks, member.follows_pods = event, label, marks or {}, follows_pods
        return member

    CONTESTED = (
        "Contested",
        "Another operator serves the namespace too; it changes nothing while the first one answers.",
        "observed.claims",
        frozenset[Outcome](),
        EventRule("Claim", warning=frozenset({"True"})),
        "Overlap",
        {"True": "?"},
    )
    SECURITY_ADVISORY = (
        "SecurityAdvisory",
        "The serving image has known CVEs.",
        "catalog.advisories",
        _KEPT,
        None,
        "Image",
        {"True": "?", "Unknown": "?", "False": "ok"},
    )
    MODEL_RESOLVED = (
        "ModelResolved",
        "The model's config.json and weight headers were read.",
        "plan.model_resolution",
        _KEPT,
        None,
        "Model",
        {"True": "ok", "Unknown": "?", "False": "no"},
    )
    FITS = (
        "Fits",
        "The model fits the GPUs.",
        "plan.verdict",
        _KEPT,
        EventRule("Plan", frozenset({"True"}), frozenset({"False"}), frozenset({Reason.TIGHT})),
        "Plan",
        {"True": "ok", "Unknown": "?", "False": "no"},
    )
    PLAN_ACCURATE = (
        "PlanAccurate",
        "The engine got the memory that was planned.",
        "plan.accuracy",
        _KEPT,
        EventRule("Compare", warning=frozenset({"False"})),
        "Engine",
        {"False": "?"},
        True,
    )
    UP_TO_DATE = (
        "UpToDate",
        "All pods run the newest revision of the spec.",
        "plan.rollout",
        _KEPT,
        EventRule(
            "RollOut",
            warning_reasons=frozenset(
                {Reason.ROLLOUT_HELD, Reason.ROLLOUT_PAUSED, Reason.ROLLOUT_FAILED, Reason.ROLLOUT_UNDONE}
            ),
        ),
        "Rollout",
        {"False": "?"},
        True,
    )
    AUTOSCALING_ACTIVE = (
        "AutoscalingActive",
        "The number of pods follows the targets of spec.autoscaling.",
        "plan.autoscaling_report",
        _KEPT,
        EventRule(
            "Scale",
            warning_reasons=frozenset({Reason.AUTOSCALING_NEEDS_GPUS, Reason.AUTOSCALED_TWICE}),
        ),
        "Replicas",
        {"True": "ok", "False": "no", "Unknown": "?"},
        True,
    )
    AVAILABLE = (
        "Available",
        "As many pods as should run are ready.",
        "observed.status",
        _KEPT,
    )
    RECONCILING = (
        "Reconciling",
        "The operator or Kubernetes is making progress towards the spec.",
        "observed.status",
    )
    STALLED = (
        "Stalled",
        "Nothing changes until the user acts.",
        "observed.status",
    )
    READY = (
        "Ready",
        "Every pod has answered a request with a token.",
        "observed.status",
        frozenset({Outcome.BLOCKED}),
        EventRule("Reconcile", frozenset({"True", "False", "Unknown"})),
    )


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition without its times.

    Attributes:
        message: what is wrong and what to do.
    """

    type: ConditionType
    status: Status
    reason: Reason
    message: str


def merge(
    previous: Iterable[Mapping[str, Any]], current: Sequence[Condition], outcome: Outcome, generation: int, now: str
) -> list[dict[str, Any]]:
    """Return `status.conditions` to write, sorted by type.

    Args:
        previous: `status.conditions` as read.
        current: the computed conditions; of the others stays what `ConditionType.kept_when` keeps.
        generation: metadata.generation that `current` was computed for.
        now: RFC 3339 time; becomes lastTransitionTime where the status (not the message) changed.
    """
    before = {str(condition.get("type")): condition for condition in previous}
    computed = {condition.type for condition in current}
    kept = [kind for kind in ConditionType if outcome in kind.kept_when and kind in before and kind not in computed]
    conditions = [dict(before[kind]) for kind in kept]
    conditions += [_with_times(condition, before.get(condition.type), generation, now) for condition in current]
    return sorted(conditions, key=lambda condition: str(condition["type"]))


def _with_times(condition: Condition, before: Mapping[str, Any] | None, generation: int, now: str) -> dict[str, Any]:
    unchanged = before is not None and before.get("status") == condition.status
    return {
        "type": str(condition.type),
        "status": condition.status,
        "reason": str(condition.reason),
        "message": condition.message,
        "observedGeneration": generation,
        "lastTransitionTime": (before or {}).get("lastTransitionTime", now) if unchanged else now,
    }


def find(conditions: Iterable[Mapping[str, Any]], kind: str) -> Mapping[str, Any] | None:
    """Return the condition of type `kind`, or None."""
    return next((c for c in conditions if c.get("type") == kind), None)


def find_in(obj: Mapping[str, Any] | None, kind: str) -> Mapping[str, Any] | None:
    """Return the condition of type `kind` in an object's status; None where it has none, or there is no object."""
    return find((obj or {}).get("status", {}).get("conditions", []), kind)


def summary(conditions: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the condition that describes the state best.

    That is Reconciling while it is True, else Ready; with zero replicas, where there is no Ready, Reconciling.
    """
    moving = find(conditions, ConditionType.RECONCILING)
    if moving is not None and moving["status"] == "True":
        return moving
    return find(conditions, ConditionType.READY) or moving


@dataclass(frozen=True, slots=True)
class Event:
    """An event about a changed condition."""

    type: Literal["Normal", "Warning"]
    reason: str
    action: str
    message: str


def events(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> Iterator[Event]:
    """Yield an event for each condition whose reason is new, by the rules of the registry.

    The event of Ready is about the summary. A condition with the same reason as Ready has no event of its own.
    """
    ready = find(after, ConditionType.READY) or {}
    stalled = find(after, ConditionType.STALLED) or {}
    for kind in ConditionType:
        if kind.event is None:
            continue
        is_summary = kind is ConditionType.READY
        was, now = (summary(before), summary(after)) if is_summary else (find(before, kind), find(after, kind))
        if now is None or now["reason"] == (was or {}).get("reason"):
            continue
        if not is_summary and now["reason"] == ready.get("reason"):
            continue
        if event_type := kind.event.event_type(now):
            warns = is_summary and stalled.get("status") == "True"
            yield Event("Warning" if warns else event_type, now["reason"], kind.event.action, now["message"])
