"""Conditions keep the time of their last transition, and only that."""

from triton_vllm_operator.api.conditions import Condition, find, merge
from triton_vllm_operator.api.reasons import Reason


def test_a_changed_message_keeps_the_transition_time() -> None:
    before = merge([], [Condition("Ready", "False", Reason.STARTING, "a")], 1, "t1")
    [after] = merge(before, [Condition("Ready", "False", Reason.ROLLING_OUT, "b")], 2, "t2")
    assert (after["lastTransitionTime"], after["reason"], after["observedGeneration"]) == ("t1", "RollingOut", 2)


def test_a_changed_status_is_a_transition() -> None:
    before = merge([], [Condition("Ready", "False", Reason.STARTING, "a")], 1, "t1")
    [after] = merge(before, [Condition("Ready", "True", Reason.SERVING, "a")], 1, "t2")
    assert after["lastTransitionTime"] == "t2"


def test_types_are_sorted_and_others_dropped() -> None:
    before = merge([], [Condition("Old", "True", Reason.SERVING, "x")], 1, "t")
    after = merge(
        before, [Condition("B", "True", Reason.SERVING, "x"), Condition("A", "True", Reason.SERVING, "x")], 1, "t"
    )
    assert [c["type"] for c in after] == ["A", "B"]
    assert find(after, "Old") is None
