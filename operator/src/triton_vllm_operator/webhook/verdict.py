"""The verdict on an LLMDeployment before it is stored: what the reconcile would say of it, as far as it is certain.

The problems are those of `plan/validation.py` and `plan/verdict.py`, in the same words. What is added here is what an
update may keep: a problem that the object had before, and that this update leaves as it was, is told and does not
refuse, so that one field can be corrected while another is still wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.catalog.violations import Violation
from triton_vllm_operator.plan import verdict
from triton_vllm_operator.plan.not_planned import NotPlanned
from triton_vllm_operator.plan.validation import Refusal, refusal_of

Object = Mapping[str, Any]

INVALID = Reason.INVALID_SPEC
_STEP = re.compile(r"[^.\[\]]+")
_IMAGE = ("spec.server.release", "spec.server.image")  # a problem with the image can lie in either


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the object may be stored, and what its author is told anyway."""

    refusal: Refusal | None = None
    warnings: tuple[str, ...] = ()

    @property
    def allowed(self) -> bool:
        """Nothing refuses."""
        return self.refusal is None


@dataclass(frozen=True, slots=True)
class Foreseen:
    """A plan made before the object is stored.

    Attributes:
        decided: by the reconcile's own function.
        binding: the reconcile, too, would keep pods back by it: it is about this very model and `planning.mode` is
            Enforce.
    """

    decided: verdict.Decision | NotPlanned
    binding: bool


def matters(new: Object, old: Object | None) -> bool:
    """Whether there is anything to judge: not for an object that goes, nor for an update that leaves the spec."""
    if "deletionTimestamp" in new.get("metadata", {}):
        return False
    return old is None or old.get("spec") != new.get("spec")


def of_refusal(refusal: Refusal) -> Violation:
    """A spec or an image that is not understood."""
    field = "spec" if refusal.reason == INVALID else _IMAGE[0]
    return Violation(field, refusal.reason, refusal.message)


def of_plan(foreseen: Foreseen | None, status: Mapping[str, Any]) -> list[Violation]:
    """What the plan has to say: DoesNotFit refuses where it is binding and new; Tight warns.

    Args:
        status: of the object before the update. Where its plan did not fit either, nothing gets worse.
    """
    if foreseen is None or isinstance(foreseen.decided, NotPlanned):
        return []
    told = verdict.condition(foreseen.decided)
    if told.status == "True":
        return []
    before = status.get("plan", {}).get("verdict") == "DoesNotFit"
    refuse = foreseen.decided.forbids and foreseen.binding and not before
    return [Violation("spec.engine", told.reason, told.message, refuse)]


def not_checked(why: str) -> Violation:
    """There is no verdict: the object is stored, and the reconcile says the rest."""
    message = f"This change was stored without a check: {why}. See the conditions of the LLMDeployment."
    return Violation("spec", Reason.NOT_CHECKED, message, rejects=False)


def ratcheted(problems: Iterable[Violation], new: Object, before: Sequence[Violation], old: Object) -> list[Violation]:
    """The problems of an update: those in what it leaves as it was only warn, where the object before it had one there.

    Of an object that was not understood (`InvalidSpec`) nothing is known, so nothing can be said to be new.
    """
    blind = any(problem.reason == INVALID for problem in before)
    had = {problem.field for problem in before if problem.rejects}
    return [
        replace(problem, rejects=False)
        if blind or (problem.field in had and _as_it_was(problem.field, new, old))
        else problem
        for problem in problems
    ]


def verdict_of(problems: Sequence[Violation]) -> Verdict:
    """Each warning is "Reason: message", as `kubectl llm explain` prints it."""
    warnings = tuple(f"{problem.reason}: {problem.message}" for problem in problems if not problem.rejects)
    return Verdict(refusal_of(problems), tuple(dict.fromkeys(warnings)))


def _as_it_was(field: str, new: Object, old: Object) -> bool:
    paths = _IMAGE if field in _IMAGE else (field,)
    return all(_written(path, new) == _written(path, old) for path in paths)


def _written(field: str, obj: Object) -> Any:
    """The value at a path such as spec.server.extraArgs[0], or a list that it leads through; None where nothing is."""
    found: Any = obj
    for name in _STEP.findall(field):
        if isinstance(found, Mapping):
            found = found.get(name)
        elif isinstance(found, list) and name.isdecimal():
            found = found[int(name)] if int(name) < len(found) else None
        else:
            return found
    return found
