"""Which of several operators reconciles an LLMDeployment, by a claim in its status that all of them see.

The first one claims it. Another one asks it, in the same place, whether it is alive, and leaves the LLMDeployment alone
while it gets an answer. With one operator a claim is written once. See docs/adr/0009-ownership.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from triton_vllm_operator.api.conditions import Condition, ConditionType
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.status import OperatorStatus
from triton_vllm_operator.observed.pods import seconds_between

TAKEOVER_S = 150.0
"""Without an answer for so long an operator counts as dead. One that lives finds a question that its watch has missed
within 70 s, and a step of a reconcile before the question may take longer than a moment."""
_ASK = 4
"""How often a contender asks, in times of the takeover: two writes per LLMDeployment, while two operators overlap."""
_GONE = 2.5 * _ASK


@dataclass(frozen=True, slots=True)
class Turn:
    """What an operator does next about one LLMDeployment.

    Attributes:
        mine: whether it reconciles the LLMDeployment.
        other: another operator that would reconcile it, or does; "" where none is known.
        write: `status.operator` to write before anything else, or None.
        after: seconds until it checks again, where it does not reconcile.
    """

    mine: bool
    other: str = ""
    write: OperatorStatus | None = None
    after: float | None = None


def unanswered(claim: OperatorStatus | None, me: str) -> str | None:
    """The question of this operator that the holder of the claim has not answered yet, or None."""
    if claim is None or claim.name == me or claim.contender != me:
        return None
    return claim.asked if claim.asked != claim.answered else None


def turn(
    claim: OperatorStatus | None,
    me: str,
    now: str,
    unanswered_s: float,
    asked_s: float = math.inf,
    takeover_s: float = TAKEOVER_S,
) -> Turn:
    """Decide whose turn it is.

    Args:
        claim: `status.operator` as read.
        me: name of this operator: the same for its replicas, and before and after an upgrade.
        now: RFC 3339 time. It is only compared with times that operators of this name have written.
        unanswered_s: seconds for which this process has seen its own question unanswered.
        asked_s: seconds since this process has asked last.
        takeover_s: until the holder of the claim counts as dead.
    """
    if claim is None:
        return Turn(True, write=OperatorStatus(name=me))
    if claim.name == me:
        return _keep(claim, now, takeover_s)
    if claim.contender == me and claim.asked != claim.answered:
        if unanswered_s >= takeover_s:
            return Turn(True, write=OperatorStatus(name=me))
        return Turn(False, claim.name, after=takeover_s - unanswered_s)
    return _ask(claim, me, now, min(asked_s, _since_question(claim, now)), takeover_s)


def _keep(claim: OperatorStatus, now: str, takeover_s: float) -> Turn:
    """The turn of the holder: it answers, and forgets a contender that asks no more."""
    if claim.question is None:
        return Turn(True)
    contender, asked = claim.question
    if asked != claim.answered:
        return Turn(True, contender, claim.model_copy(update={"answered": asked}))
    if seconds_between(asked, now) > _GONE * takeover_s:
        return Turn(True, write=OperatorStatus(name=claim.name))
    return Turn(True, contender)


def _since_question(claim: OperatorStatus, now: str) -> float:
    """Seconds since the last question of any operator, as far as the clocks of all agree; infinite where none is."""
    passed = seconds_between(claim.question[1], now) if claim.question else math.inf
    return passed if passed >= 0 else math.inf


def _ask(claim: OperatorStatus, me: str, now: str, asked_s: float, takeover_s: float) -> Turn:
    """The turn of another one. With three of them one question is enough."""
    if asked_s < _ASK * takeover_s:
        return Turn(False, claim.name, after=_ASK * takeover_s - asked_s)
    question = claim.model_copy(update={"contender": me, "asked": now})
    return Turn(False, claim.name, question, takeover_s)


def is_of_another(status: Mapping[str, Any], me: str) -> bool:
    """Whether another operator has claimed the LLMDeployment with this status. `me`: name of this operator."""
    claim = OperatorStatus.recorded(status.get("operator"))
    return claim is not None and claim.name != me


def contested(status: Mapping[str, Any]) -> Iterator[Condition]:
    """Yield the condition Contested, where another operator has asked. `status`: of the LLMDeployment."""
    claim = OperatorStatus.recorded(status.get("operator"))
    if claim is None or claim.question is None:
        return
    message = (
        f"Operator {claim.contender} serves this namespace too. It changes nothing while operator {claim.name} "
        "answers. Uninstall one of them, or give each its own namespaces. The names are those of their Leases."
    )
    yield Condition(ConditionType.CONTESTED, "True", Reason.OPERATORS_OVERLAP, message)
