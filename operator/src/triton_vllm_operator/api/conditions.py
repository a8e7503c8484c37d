"""Conditions per the Kubernetes API conventions, as plain values and as a list that keeps its history."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from triton_vllm_operator.api.reasons import Reason

Status = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition without its times: what is true now, why, and what to do."""

    type: str
    status: Status
    reason: Reason
    message: str


def merge(
    previous: Iterable[Mapping[str, Any]], current: Iterable[Condition], generation: int, now: str
) -> list[dict[str, Any]]:
    """The condition list to write, sorted by type.

    Args:
        previous: conditions in the object's status as read.
        current: what holds now; types that are not named are dropped.
        generation: metadata.generation that `current` was computed for.
        now: RFC 3339 time; becomes lastTransitionTime where the status (not the message) changed.
    """
    before = {c.get("type"): c for c in previous}
    return [_with_times(c, before.get(c.type), generation, now) for c in sorted(current, key=lambda c: c.type)]


def _with_times(condition: Condition, before: Mapping[str, Any] | None, generation: int, now: str) -> dict[str, Any]:
    unchanged = before is not None and before.get("status") == condition.status
    return {
        "type": condition.type,
        "status": condition.status,
        "reason": str(condition.reason),
        "message": condition.message,
        "observedGeneration": generation,
        "lastTransitionTime": (before or {}).get("lastTransitionTime", now) if unchanged else now,
    }


def find(conditions: Iterable[Mapping[str, Any]], kind: str) -> Mapping[str, Any] | None:
    """The condition of type `kind`, or None."""
    return next((c for c in conditions if c.get("type") == kind), None)


def summary(conditions: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The condition that says best how things are: Reconciling while it is true or where nothing is to be ready, Ready
    else."""
    moving = find(conditions, "Reconciling")
    return moving if moving is not None and moving["status"] == "True" else find(conditions, "Ready") or moving
