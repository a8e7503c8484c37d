"""The number of pods: the HorizontalPodAutoscaler's documented algorithm, limits, free GPUs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triton_vllm_operator.api.spec import AutoscalingSpec
from triton_vllm_operator.plan.autoscaling import Change, History, Limit, Recommendation, ScalingState, decide

IN_FLIGHT, WAITING = "inFlightPerReplica", "waitingPerReplica"
AT_ONCE = {"scaleDown": {"stabilizationWindowSeconds": 0}}


def spec(maximum: int = 10, minimum: int = 1, behavior: Any = AT_ONCE, **target: float) -> AutoscalingSpec:
    given = {"minReplicas": minimum, "maxReplicas": maximum, "target": target or {IN_FLIGHT: 10}}
    return AutoscalingSpec.model_validate({**given, "behavior": behavior or {}})


def state(replicas: int, *in_flight: float | None, **more: Any) -> ScalingState:
    """A state in which these pods are ready; None: one that reports nothing. The others load."""
    pods = [{} if value is None else {IN_FLIGHT: value} for value in in_flight]
    given = {"spec": spec(), "loading": max(replicas - len(pods), 0), "now": 1000.0, **more}
    return ScalingState(replicas, pods, **given)


TABLE: dict[str, tuple[ScalingState, int]] = {
    "at the target": (state(2, 10, 10), 2),
    "twice the target": (state(2, 20, 20), 4),
    "within the tolerance above": (state(2, 11, 11), 2),
    "just above the tolerance": (state(2, 11.1, 11.1), 3),
    "within the tolerance below": (state(10, *[9.0] * 10), 10),
    "just below the tolerance": (state(10, *[8.9] * 10), 9),
    "a whole number in spite of floats": (state(3, 0.3, spec=spec(inFlightPerReplica=0.1)), 3),
    "half of the target": (state(4, 5, 5, 5, 5), 2),
    "idle": (state(4, 0, 0, 0, 0), 1),
    "a loading pod counts as 0 on the way up": (state(2, 20), 2),
    "two loading pods are too many to add one": (state(3, 30), 3),
    "more than the loading pod will take": (state(2, 30), 3),
    "a loading pod does not count on the way down": (state(2, 3), 1),
    "a pod that reports nothing counts as 0 on the way up": (state(2, 20, None), 2),
    "and as the target on the way down": (state(4, 0, 0, 0, None), 1),
    "of four, two of them unknown": (state(4, 0, 0, None, None), 2),
    "nothing known": (state(3, None, None, None), 3),
    "no pod ready": (state(3), 3),
    "the maximum": (state(8, *[100.0] * 8), 10),
    "the minimum": (state(4, 0, 0, 0, 0, spec=spec(minimum=2)), 2),
    "at most 4 pods or twice as many in 15 s": (state(1, 1000.0), 5),
    "twice as many is more than 4": (state(6, *[1000.0] * 6, spec=spec(maximum=100)), 12),
    "no GPU is free": (state(2, 50, 50, placed=2, room=0), 2),
    "one GPU is free": (state(2, 50, 50, placed=2, room=1), 3),
    "a pod that has no node yet needs one of them": (state(3, 50, 50, placed=2, room=1), 3),
    "which GPUs are free is not known": (state(2, 30, 30, placed=2, room=None), 6),
    "GPUs that are gone take no pod away": (state(4, 50, 50, placed=2, room=0), 4),
    "not down while pods are replaced": (state(3, 0, 0, 0, replacing=True), 3),
    "up while pods are replaced": (state(2, 20, 20, replacing=True), 4),
    "pods of a rollout beyond the number": (state(2, 10, 10, 0), 2),
}


@pytest.mark.parametrize("name", TABLE)
def test_the_number_of_pods(name: str) -> None:
    given, expected = TABLE[name]
    assert decide(given).desired == expected


def test_the_target_that_needs_the_most_pods_decides() -> None:
    both = spec(inFlightPerReplica=10, waitingPerReplica=2)
    pods = [{IN_FLIGHT: 10.0, WAITING: 6.0}]
    decision = decide(ScalingState(1, pods, 0, both))
    assert (decision.desired, decision.by) == (3, WAITING)
    assert [(one.name, one.current, one.target) for one in decision.metrics] == [(IN_FLIGHT, 10, 10), (WAITING, 6, 2)]


@pytest.mark.parametrize(("value", "expected", "limits"), [(0.0, 3, (Limit.MISSING,)), (20.0, 6, ())])
def test_a_target_that_no_pod_reports_forbids_the_way_down_alone(
    value: float, expected: int, limits: tuple[Limit, ...]
) -> None:
    both = spec(inFlightPerReplica=10, kvCacheUsage=0.7)
    decision = decide(ScalingState(3, [{IN_FLIGHT: value}] * 3, 0, both))
    assert (decision.desired, decision.limits, decision.missing) == (expected, limits, ("kvCacheUsage",))


def history(*recommended: tuple[float, int], changes: tuple[tuple[float, int], ...] = ()) -> History:
    return History(tuple(Recommendation(*one) for one in recommended), tuple(Change(*one) for one in changes))


@pytest.mark.parametrize(
    ("recommended", "expected"),
    [(((701, 4),), 4), (((700, 4),), 1), (((800, 2), (900, 3)), 3), ((), 1)],
)
def test_the_highest_of_the_last_300_seconds_counts_on_the_way_down(
    recommended: tuple[tuple[float, int], ...], expected: int
) -> None:
    given = state(4, 0, 0, 0, 0, spec=spec(behavior=None), history=history(*recommended))
    decision = decide(given)
    assert decision.desired == expected
    assert (Limit.WINDOW in decision.limits) is (expected > 1)


def test_the_lowest_of_the_window_counts_on_the_way_up() -> None:
    slow = spec(behavior={"scaleUp": {"stabilizationWindowSeconds": 60}})
    assert decide(state(2, 30, 30, spec=slow, history=history((950, 3)))).desired == 3
    assert decide(state(2, 30, 30, spec=slow, history=history((950, 1)))).desired == 2
    assert decide(state(2, 30, 30, spec=slow, history=history((930, 1)))).desired == 6


def pods_per_minute(count: int) -> dict[str, Any]:
    return {"policies": [{"type": "Pods", "value": count, "periodSeconds": 60}]}


@pytest.mark.parametrize(
    ("behavior", "changes", "expected"),
    [
        ({"scaleUp": pods_per_minute(1)}, (), 5),
        ({"scaleUp": pods_per_minute(1)}, ((950.0, 1),), 4),
        ({"scaleUp": pods_per_minute(1)}, ((939.0, 1),), 5),
        ({"scaleUp": pods_per_minute(2)}, ((950.0, -1),), 7),
        ({"scaleUp": {"selectPolicy": "Disabled"}}, (), 4),
        ({"scaleUp": {"policies": [{"type": "Percent", "value": 10, "periodSeconds": 60}]}}, (), 5),
        (
            {
                "scaleUp": {
                    "selectPolicy": "Min",
                    "policies": [
                        {"type": "Pods", "value": 3, "periodSeconds": 60},
                        {"type": "Percent", "value": 50, "periodSeconds": 60},
                    ],
                }
            },
            (),
            6,
        ),
    ],
)
def test_policies_limit_the_way_up(behavior: Any, changes: tuple[tuple[float, int], ...], expected: int) -> None:
    given = state(4, *[30.0] * 4, spec=spec(maximum=20, behavior=behavior), history=history(changes=changes))
    assert decide(given).desired == expected


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (pods_per_minute(1), 7),
        ({"policies": [{"type": "Percent", "value": 50, "periodSeconds": 60}]}, 4),
        ({"selectPolicy": "Disabled"}, 8),
        (
            {
                "selectPolicy": "Min",
                "policies": [
                    {"type": "Pods", "value": 2, "periodSeconds": 60},
                    {"type": "Percent", "value": 50, "periodSeconds": 60},
                ],
            },
            6,
        ),
    ],
)
def test_policies_limit_the_way_down(rules: dict[str, Any], expected: int) -> None:
    limited = spec(behavior={"scaleDown": {"stabilizationWindowSeconds": 0, **rules}})
    decision = decide(state(8, *[0.0] * 8, spec=limited))
    assert decision.desired == expected
    assert Limit.POLICY in decision.limits


def test_the_tolerance_of_a_direction_is_that_of_the_spec() -> None:
    none = {"scaleUp": {"tolerance": 0}, "scaleDown": {"tolerance": 0.5, "stabilizationWindowSeconds": 0}}
    assert decide(state(4, *[10.1] * 4, spec=spec(behavior=none))).desired == 5
    assert decide(state(4, *[5.1] * 4, spec=spec(behavior=none))).desired == 4


def test_what_is_older_than_any_window_is_forgotten() -> None:
    found = history((0, 1), changes=((0, 1),)).recommended(2, 4000).changed(1, 4000)
    assert found == history((4000, 2), changes=((4000, 1),))


# ------------------------------------------------------------------------------------ properties

VALUES = st.one_of(st.none(), st.floats(0, 1000), st.integers(0, 100).map(float))
RULES = st.fixed_dictionaries(
    {},
    optional={
        "stabilizationWindowSeconds": st.integers(0, 600),
        "selectPolicy": st.sampled_from(["Max", "Min", "Disabled"]),
        "tolerance": st.floats(0, 1),
        "policies": st.lists(
            st.fixed_dictionaries(
                {
                    "type": st.sampled_from(["Pods", "Percent"]),
                    "value": st.integers(1, 200),
                    "periodSeconds": st.integers(1, 600),
                }
            ),
            max_size=3,
        ),
    },
)


@st.composite
def states(draw: st.DrawFn) -> ScalingState:
    minimum = draw(st.integers(1, 5))
    maximum = draw(st.integers(minimum, 20))
    targets = draw(st.sampled_from([{IN_FLIGHT: 10.0}, {IN_FLIGHT: 10.0, WAITING: 2.0}, {WAITING: 0.3}]))
    behavior = {"scaleUp": draw(RULES), "scaleDown": draw(RULES)}
    replicas = draw(st.integers(minimum, maximum))
    pods = [
        {name: value for name in targets if (value := draw(VALUES)) is not None}
        for _ in range(draw(st.integers(0, replicas + 1)))
    ]
    moments = st.floats(0, 1000)
    return ScalingState(
        replicas,
        pods,
        max(replicas - len(pods), 0),
        spec(maximum, minimum, behavior, **targets),
        history(
            *draw(st.lists(st.tuples(moments, st.integers(0, 30)), max_size=4)),
            changes=tuple(draw(st.lists(st.tuples(moments, st.integers(-5, 5)), max_size=4))),
        ),
        1000.0,
        placed=draw(st.integers(0, replicas)),
        room=draw(st.one_of(st.none(), st.integers(0, 10))),
        replacing=draw(st.booleans()),
    )


@given(states())
def test_the_number_is_within_its_bounds_and_never_beyond_the_gpus(given_: ScalingState) -> None:
    decision = decide(given_)
    assert given_.spec.min_replicas <= decision.desired <= given_.spec.max_replicas
    if given_.room is not None:
        assert decision.desired <= max(given_.replicas, given_.placed + given_.room)
    if given_.replacing:
        assert decision.desired >= given_.replicas
    assert decide(given_) == decision
    if decision.missing:
        assert decision.desired >= given_.replicas


@given(states())
def test_pods_that_report_nothing_never_make_the_change_larger(given_: ScalingState) -> None:
    """As many pods go as if the silent ones had exactly their target; as many come as if they had nothing."""
    targets = given_.spec.target.values
    decision = decide(given_)
    if not decision.by or decision.missing:
        return
    full = decide(replace(given_, pods=[{**targets, **pod} for pod in given_.pods]))
    empty = decide(replace(given_, pods=[{**dict.fromkeys(targets, 0.0), **pod} for pod in given_.pods]))
    if decision.desired < given_.replicas:
        assert decision.recommended >= min(full.recommended, given_.replicas)
    if decision.desired > given_.replicas:
        assert decision.recommended <= max(empty.recommended, given_.replicas) or len(targets) > 1


@given(st.integers(1, 20), st.floats(0, 400), st.integers(1, 20))
def test_a_constant_load_comes_to_rest_and_stays_there(replicas: int, load: float, target: int) -> None:
    given_ = spec(20, inFlightPerReplica=target)
    seen, past, now = [], History(), 1000.0
    for _ in range(40):
        pods = [{IN_FLIGHT: load / replicas}] * replicas
        decision = decide(ScalingState(replicas, pods, 0, given_, past, now))
        past = past.recommended(decision.recommended, now)
        if decision.desired != replicas:
            past = past.changed(decision.desired - replicas, now)
        replicas, now = decision.desired, now + 15
        seen.append(replicas)
    assert len(set(seen[-20:])) == 1, seen
    assert sum((b - a) * (c - b) < 0 for a, b, c in zip(seen, seen[1:], seen[2:], strict=False)) == 0, seen
    enough = load / replicas <= target * 1.1 + 1e-6
    assert enough or replicas == 20
    assert replicas <= max(math.ceil(load / target / 0.9) + 1, 1)
