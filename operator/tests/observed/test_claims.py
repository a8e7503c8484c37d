"""Several operators, one LLMDeployment: one of them reconciles it, and the others know."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from triton_vllm_operator.api.status import OperatorStatus
from triton_vllm_operator.observed.claims import TAKEOVER_S, Turn, contested, turn, unanswered

ASK_S = 4 * TAKEOVER_S
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Field:
    """`status.operator` of one LLMDeployment, and what each operator has seen of it on its own clock."""

    claim: OperatorStatus | None = None
    seconds: float = 0.0
    writes: int = 0
    open: dict[str, tuple[str, float]] = field(default_factory=dict)
    asked: dict[str, float] = field(default_factory=dict)

    def turn(self, me: str, skew_s: float = 0.0) -> Turn:
        question = unanswered(self.claim, me)
        if question is None:
            self.open.pop(me, None)
        elif self.open.get(me, ("", 0.0))[0] != question:
            self.open[me] = question, self.seconds
        waited = self.seconds - self.open[me][1] if me in self.open else 0.0
        now = (BEGAN + timedelta(seconds=self.seconds + skew_s)).strftime("%Y-%m-%dT%H:%M:%SZ")
        found = turn(self.claim, me, now, waited, self.seconds - self.asked.get(me, -math.inf))
        if found.write is not None:
            self.claim, self.writes = found.write, self.writes + 1
            self.asked |= {} if found.mine else {me: self.seconds}
        return found


def test_one_operator_claims_once() -> None:
    made = Field()
    for _ in range(50):
        assert made.turn("ns/a") == Turn(True, write=made.claim if made.writes == 1 and made.seconds == 0 else None)
        made.seconds += 300
    assert made.writes == 1


def test_replicas_and_the_next_version_have_the_same_name_and_go_on() -> None:
    made = Field(OperatorStatus(name="ns/a"))
    assert made.turn("ns/a") == Turn(True)


def test_the_second_one_asks_and_stays_away_while_it_gets_answers() -> None:
    made = Field()
    made.turn("ns/a")
    asked = made.turn("ns/b")
    assert (asked.mine, asked.other) == (False, "ns/a")
    assert (made.turn("ns/a").mine, made.turn("ns/a").other) == (True, "ns/b")
    writes = made.writes
    for _ in range(10):
        made.seconds += 50
        assert not made.turn("ns/b").mine
        assert made.turn("ns/a").mine
    assert made.writes == writes, "nothing is written between two questions"
    made.seconds += ASK_S
    made.turn("ns/b")
    made.turn("ns/a")
    assert made.writes == writes + 2


def test_a_dead_one_is_replaced_once_and_asks_when_it_is_back() -> None:
    made = Field()
    made.turn("ns/a")
    first = made.turn("ns/b")
    assert first.after == TAKEOVER_S
    made.seconds += TAKEOVER_S - 1
    assert not made.turn("ns/b").mine, "the time counts from when it has seen its question"
    made.seconds += TAKEOVER_S
    assert made.turn("ns/b").mine
    assert made.claim == OperatorStatus(name="ns/b")
    assert not made.turn("ns/a").mine
    assert made.turn("ns/b").mine


def test_the_holder_forgets_one_that_asks_no_more() -> None:
    made = Field()
    made.turn("ns/a")
    made.turn("ns/b")
    made.turn("ns/a")
    made.seconds += 3 * ASK_S
    assert made.turn("ns/a").other == ""
    assert made.claim == OperatorStatus(name="ns/a")


def test_a_third_one_asks_nothing_while_the_second_one_does() -> None:
    made = Field()
    made.turn("ns/a")
    made.turn("ns/b")
    question = made.claim
    assert made.turn("ns/c").write is None
    assert made.claim == question
    made.turn("ns/a")
    assert (made.turn("ns/c").write, made.turn("ns/b").write) == (None, None)
    made.seconds += ASK_S
    assert made.turn("ns/c").write is not None


def test_only_a_question_is_told() -> None:
    assert list(contested({})) == []
    assert list(contested({"operator": {"name": "ns/a"}})) == []
    assert list(contested({"operator": {"name": 1}})) == []
    asked = OperatorStatus(name="ns/a", contender="ns/b", asked="2026-01-01T00:00:00Z")
    [condition] = contested({"operator": asked.model_dump(by_alias=True, exclude_none=True)})
    assert "ns/a" in condition.message
    assert "ns/b" in condition.message


steps = st.lists(st.tuples(st.sampled_from(["ns/a", "ns/b", "ns/c"]), st.floats(0, 40)), max_size=60)
skews = st.tuples(*[st.sampled_from([0.0, -3600.0, 86400.0])] * 3)


@given(steps, skews)
def test_while_all_of_them_live_the_first_one_stays(
    taken: Sequence[tuple[str, float]], skewed: Sequence[float]
) -> None:
    """Whatever the order, and whatever their clocks say: the holder has its turn between any two of the others."""
    made, clocks = Field(), dict(zip(["ns/a", "ns/b", "ns/c"], skewed, strict=True))
    made.turn("ns/a", clocks["ns/a"])
    for name, seconds in taken:
        made.seconds += seconds
        assert made.turn(name, clocks[name]).mine is (name == "ns/a")
        assert made.turn("ns/a", clocks["ns/a"]).mine
    assert made.writes <= 1 + 6 * (1 + made.seconds / ASK_S), "two others ask; the first one answers, and forgets"


@given(steps)
def test_two_never_hold_it_one_after_the_other_without_a_silence(taken: Sequence[tuple[str, float]]) -> None:
    made, last = Field(), dict.fromkeys(["ns/a", "ns/b", "ns/c"], 0.0)
    holder = ""
    for name, seconds in taken:
        made.seconds += seconds
        if made.turn(name).mine:
            assert holder in ("", name) or made.seconds - last[holder] >= TAKEOVER_S
            holder = name
        last[name] = made.seconds
