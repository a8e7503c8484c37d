"""The history of an LLMDeployment: the revision that the spec comes to, the one to restore, and what is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from triton_vllm_operator.api import names
from triton_vllm_operator.desired import revisions
from triton_vllm_operator.desired.revisions import Revision


@dataclass(frozen=True, slots=True)
class History:
    """The revisions after this reconcile's writes.

    Attributes:
        target: the revision that the spec comes to.
        previous: the newest other revision whose pods have all served; None where there is none.
        write: revisions to write, before the Deployment.
        surplus: revisions beyond the limit, to be deleted after it unless pods still run them.
    """

    target: Revision
    previous: Revision | None
    write: tuple[Revision, ...] = ()
    surplus: tuple[Revision, ...] = ()


@dataclass(frozen=True, slots=True)
class Proceed:
    """What `kubectl llm rollout proceed` has set: the gap of a revision is accepted, and a failed one is tried again.

    Attributes:
        revision: name of the ControllerRevision.
        number: of the revision; another one when the spec comes to the same revision again later.
        at: RFC 3339 time.
    """

    revision: str = ""
    number: int = 0
    at: str = ""

    @classmethod
    def of(cls, annotations: Mapping[str, str]) -> Proceed:
        """Read the annotation of an LLMDeployment."""
        match annotations.get(names.PROCEED_ANNOTATION, "").split():
            case [revision, number, at] if number.isdecimal():
                return cls(revision, int(number), at)
        return cls()

    def accepts(self, revision: Revision) -> bool:
        """Whether it was given for this revision."""
        return (self.revision, self.number) == (revision.name, revision.number)

    def __str__(self) -> str:
        return f"{self.revision} {self.number} {self.at}"


def history(
    name: str,
    data: Mapping[str, Any],
    live: Sequence[Revision],
    deployed: str | None,
    *,
    unchanged: bool,
    proceed: Proceed,
    limit: int,
) -> History:
    """The history with the revision that the spec comes to.

    Args:
        name: of the LLMDeployment.
        data: of that revision.
        live: all that are recorded.
        deployed: mark of the Deployment; None before it exists.
        unchanged: whether a Deployment without recorded revisions is the one that the spec comes to.
        limit: number of old revisions to keep.
    """
    own = revisions.revision_name(name, data)
    others = [one for one in live if one.name != own]
    target = _target(own, data, live, first=not live and (deployed is None or unchanged))
    if target.failure is not None and proceed.accepts(target) and proceed.at > target.failure.at:
        target = replace(target, failure=None)
    # A revision is tried again when the spec has been another one since.
    cleared = [replace(one, failure=None) for one in others if one.failure is not None]
    write = (*cleared, *([] if target in live else [target]))
    previous = max((one for one in others if one.served), key=lambda one: one.number, default=None)
    kept = {previous.name if previous else "", *(one.name for one in others if one.mark == deployed)}
    oldest_first = sorted(others, key=lambda one: one.number)
    surplus = [one for one in oldest_first[: max(len(others) - limit, 0)] if one.name not in kept]
    return History(target, previous, write, tuple(surplus))


def _target(own: str, data: Mapping[str, Any], live: Sequence[Revision], *, first: bool) -> Revision:
    newest = max(live, key=lambda one: one.number, default=None)
    known = next((one for one in live if one.name == own), None)
    if known is not None and known is newest:
        return known
    before = newest.data if newest else None
    if known is not None:
        changed = revisions.changes(before, known.data)
        # It has to serve again: what it needs beside the spec may be gone.
        return replace(known, number=newest.number + 1 if newest else 1, changes=changed, served=False)
    # The revision before an operator that recorded none is not known: it is number 1, and cannot be restored.
    number = newest.number + 1 if newest else 1 if first else 2
    made = {**data, "first": True} if first else dict(data)
    return Revision(own, number, made, revisions.changes(before, data))
