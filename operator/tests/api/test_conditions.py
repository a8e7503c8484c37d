"""Conditions keep the time of their last transition and what the registry keeps, sorted; a new reason is an event."""

from __future__ import annotations

from typing import Any

import pytest

from triton_vllm_operator.api.conditions import (
    Condition,
    ConditionType,
    Event,
    Outcome,
    events,
    find,
    merge,
    summary,
)
from triton_vllm_operator.api.reasons import Reason


def condition(kind: ConditionType, status: Any = "True", reason: Reason = Reason.SERVING, text: str = "x") -> Condition:
    return Condition(kind, status, reason, text)


def stored(*conditions: Condition) -> list[dict[str, Any]]:
    return merge([], conditions, Outcome.OBSERVED, 1, "t1")


EVERY = stored(*(condition(kind) for kind in ConditionType))


def test_a_changed_message_keeps_the_transition_time() -> None:
    before = stored(condition(ConditionType.READY, "False", Reason.STARTING, "a"))
    current = condition(ConditionType.READY, "False", Reason.ROLLING_OUT, "b")
    [after] = merge(before, [current], Outcome.OBSERVED, 2, "t2")
    assert (after["lastTransitionTime"], after["reason"], after["observedGeneration"]) == ("t1", "RollingOut", 2)


def test_a_changed_status_is_a_transition() -> None:
    before = stored(condition(ConditionType.READY, "False", Reason.STARTING))
    [after] = merge(before, [condition(ConditionType.READY)], Outcome.OBSERVED, 1, "t2")
    assert after["lastTransitionTime"] == "t2"


def test_after_the_children_were_read_only_computed_conditions_stay() -> None:
    current = [condition(ConditionType.READY), condition(ConditionType.AVAILABLE)]
    after = merge(EVERY, current, Outcome.OBSERVED, 1, "t")
    assert [c["type"] for c in after] == ["Available", "Ready"]


POD_INDEPENDENT = [
    "AutoscalingActive",
    "Available",
    "Fits",
    "ModelResolved",
    "PlanAccurate",
    "SecurityAdvisory",
    "UpToDate",
]


@pytest.mark.parametrize(
    ("outcome", "kept"),
    [
        (Outcome.REJECTED, POD_INDEPENDENT),
        (Outcome.HELD, POD_INDEPENDENT),
        (Outcome.BLOCKED, sorted([*POD_INDEPENDENT, "Ready"])),
        (Outcome.OBSERVED, []),
    ],
)
def test_what_is_kept_when_it_is_not_computed(outcome: Outcome, kept: list[str]) -> None:
    after = merge(EVERY, [], outcome, 7, "t2")
    assert [c["type"] for c in after] == kept
    assert all(c in EVERY for c in after), "a kept condition does not change"


@pytest.mark.parametrize("outcome", Outcome)
def test_the_list_is_sorted_and_has_each_type_once(outcome: Outcome) -> None:
    current = [condition(kind, "False") for kind in (ConditionType.STALLED, ConditionType.FITS, ConditionType.READY)]
    types = [c["type"] for c in merge(EVERY[::-1], current, outcome, 2, "t2")]
    assert types == sorted(set(types))


def test_a_condition_that_is_not_registered_goes() -> None:
    alien = {"type": "Alien", "status": "True", "reason": "X", "message": "x"}
    assert find(merge([*EVERY, alien], [], Outcome.BLOCKED, 1, "t"), "Alien") is None


def test_the_registry_is_complete() -> None:
    for kind in ConditionType:
        assert kind.meaning.endswith("."), kind
        assert bool(kind.label) == bool(kind.marks), kind


def test_the_summary_is_ready_unless_something_moves_or_nothing_is_to_be_ready() -> None:
    ready = condition(ConditionType.READY, "False", Reason.STARTING)
    moving = condition(ConditionType.RECONCILING, "True", Reason.STARTING)
    still = condition(ConditionType.RECONCILING, "False", Reason.SCALED_TO_ZERO)
    assert (summary(stored(ready, moving)) or {})["type"] == "Reconciling"
    assert (summary(stored(ready, still)) or {})["type"] == "Ready"
    assert (summary(stored(still)) or {})["type"] == "Reconciling"
    assert summary([]) is None


# ------------------------------------------------------------------------------------------------------- events


def changed(before: list[Condition], after: list[Condition]) -> list[tuple[str, str, str]]:
    return [(e.type, e.reason, e.action) for e in events(stored(*before), stored(*after))]


FITS, ACCURATE = ConditionType.FITS, ConditionType.PLAN_ACCURATE


@pytest.mark.parametrize(
    ("status", "reason", "event"),
    [
        ("True", Reason.FITS, ("Normal", "Fits", "Plan")),
        ("False", Reason.DOES_NOT_FIT, ("Warning", "DoesNotFit", "Plan")),
        ("Unknown", Reason.TIGHT, ("Warning", "Tight", "Plan")),
        ("Unknown", Reason.NODES_NOT_READABLE, None),
    ],
)
def test_a_new_verdict_is_an_event_once(status: Any, reason: Reason, event: tuple[str, str, str] | None) -> None:
    verdict = condition(FITS, status, reason)
    assert changed([], [verdict]) == ([event] if event else [])
    assert changed([verdict], [verdict]) == []
    assert changed([verdict], [condition(FITS, status, reason, "another message")]) == []


def test_a_verdict_that_is_also_the_reason_of_ready_is_one_event() -> None:
    held = condition(ConditionType.READY, "False", Reason.DOES_NOT_FIT)
    stalled = condition(ConditionType.STALLED, "True", Reason.DOES_NOT_FIT)
    verdict = condition(FITS, "False", Reason.DOES_NOT_FIT)
    assert changed([], [held, stalled, verdict]) == [("Warning", "DoesNotFit", "Reconcile")]


def test_an_inaccurate_plan_is_an_event_once_and_an_accurate_one_never() -> None:
    off = condition(ACCURATE, "False", Reason.WEIGHTS_DIFFER)
    assert changed([], [off]) == [("Warning", "WeightsDiffer", "Compare")]
    assert changed([off], [off]) == [], "the event does not repeat at each reconcile"
    assert changed([off], [condition(ACCURATE, "False", Reason.KV_CACHE_DIFFERS)]) != []
    assert changed([off], [condition(ACCURATE, "True", Reason.AS_PLANNED)]) == []
    assert changed([], [condition(ACCURATE, "Unknown", Reason.NOT_SERVING)]) == []


def test_a_new_reason_of_ready_is_a_warning_where_the_user_has_to_act() -> None:
    moving = [condition(ConditionType.RECONCILING, "True", Reason.STARTING)]
    assert changed([], moving) == [("Normal", "Starting", "Reconcile")]
    stuck = [condition(ConditionType.READY, "False", Reason.SERVER_FAILED), condition(ConditionType.STALLED)]
    assert changed(moving, stuck) == [("Warning", "ServerFailed", "Reconcile")]
    assert changed(stuck, [condition(ConditionType.READY)]) == [("Normal", "Serving", "Reconcile")]


def test_an_event_has_the_message_of_the_condition() -> None:
    [event] = events([], stored(condition(FITS, "True", Reason.FITS, "It fits.")))
    assert event == Event("Normal", "Fits", "Plan", "It fits.")
