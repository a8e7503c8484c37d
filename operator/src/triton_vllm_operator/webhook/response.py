"""The response to an admission request: what the reconcile would say of the object, as far as that is certain.

The problems are those of `plan/validation.py` and `plan/verdict.py`, in the same words. Added here is what an update
may keep: a problem that the object had before, in a field that this update leaves as it is, only warns, so that one
field can be corrected while another is still wrong.
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
from triton_vllm_operator.plan.validation import Rejected, rejection_of
from triton_vllm_operator.plan.verdict import PredictedPlan

Object = Mapping[str, Any]

_PATH_STEP = re.compile(r"[^.\[\]]+")
_IMAGE_FIELDS = ("spec.server.release", "spec.server.image")  # a problem with the image can lie in either


@dataclass(frozen=True, slots=True)
class AdmissionResponse:
    """Whether the object may be stored, and warnings for its author."""

    rejected: Rejected | None = None
    warnings: tuple[str, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether the object is stored."""
        return self.rejected is None


def changes_spec(new: Object, old: Object | None) -> bool:
    """Whether there is anything to review: not for an object that is deleted, nor for an update of other fields."""
    if "deletionTimestamp" in new.get("metadata", {}):
        return False
    return old is None or old.get("spec") != new.get("spec")


def problem_of_rejected(rejected: Rejected) -> Violation:
    """The problem of a spec or an image that is invalid as a whole."""
    field = "spec" if rejected.reason == Reason.INVALID_SPEC else _IMAGE_FIELDS[0]
    return Violation(field, rejected.reason, rejected.message)


def problems_of_plan(predicted: PredictedPlan | None, status: Mapping[str, Any]) -> list[Violation]:
    """DoesNotFit rejects where it is binding and new; Tight warns.

    Args:
        status: of the object before the update. Where its plan did not fit either, nothing gets worse.
    """
    if predicted is None or isinstance(predicted.decision, NotPlanned):
        return []
    fits = verdict.condition(predicted.decision)
    if fits.status == "True":
        return []
    before = status.get("plan", {}).get("verdict") == "DoesNotFit"
    reject = predicted.decision.forbids and predicted.binding and not before
    return [Violation("spec.engine", fits.reason, fits.message, reject)]


def not_checked(why: str) -> Violation:
    """The object is stored without a review; the reconcile reports the rest."""
    message = f"This change was stored without a check: {why}. See the conditions of the LLMDeployment."
    return Violation("spec", Reason.NOT_CHECKED, message, rejects=False)


def ratcheted(problems: Iterable[Violation], new: Object, before: Sequence[Violation], old: Object) -> list[Violation]:
    """The problems of an update: those in fields that it leaves as they were only warn, where the object had one there.

    Of an object whose spec was invalid as a whole nothing is known, so no problem counts as new.
    """
    unknown = any(problem.reason == Reason.INVALID_SPEC for problem in before)
    had = {problem.field for problem in before if problem.rejects}
    return [
        replace(problem, rejects=False)
        if unknown or (problem.field in had and _is_unchanged(problem.field, new, old))
        else problem
        for problem in problems
    ]


def response_of(problems: Sequence[Violation]) -> AdmissionResponse:
    """Each warning is "Reason: message", as `kubectl llm explain` prints it."""
    warnings = tuple(f"{problem.reason}: {problem.message}" for problem in problems if not problem.rejects)
    return AdmissionResponse(rejection_of(problems), tuple(dict.fromkeys(warnings)))


def _is_unchanged(field: str, new: Object, old: Object) -> bool:
    paths = _IMAGE_FIELDS if field in _IMAGE_FIELDS else (field,)
    return all(_value_at(path, new) == _value_at(path, old) for path in paths)


def _value_at(field: str, obj: Object) -> Any:
    """The value at a path such as spec.server.extraArgs[0], or a list on the way to it; None where absent."""
    found: Any = obj
    for name in _PATH_STEP.findall(field):
        if isinstance(found, Mapping):
            found = found.get(name)
        elif isinstance(found, list) and name.isdecimal():
            found = found[int(name)] if int(name) < len(found) else None
        else:
            return found
    return found
