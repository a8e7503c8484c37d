"""Reconcile step: the children are written where they differ, and removed where the spec has none of them any more."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.kinds import Key, Object, Ref
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.controller.cluster import ClusterView
from triton_vllm_operator.desired.children import CHILD_KINDS
from triton_vllm_operator.kube.errors import Conflict, Forbidden, Invalid
from triton_vllm_operator.observed import needs, refusals
from triton_vllm_operator.observed.pods import seconds_between
from triton_vllm_operator.plan import adoption
from triton_vllm_operator.plan.actions import Apply, Delete, actions, foreign_owner
from triton_vllm_operator.plan.validation import Rejected

log = logging.getLogger(__name__)

_CORRECT = "Correct the field of spec that it names."
_DELETION_S = 600.0


async def apply_children(
    cluster: ClusterView, obj: Object, llm: LLMDeployment, desired: Sequence[Object], now: str
) -> None:
    """Write what differs, in an order in which each write may be the last before a crash.

    Args:
        obj: the LLMDeployment as read; events are about it.
        desired: the complete child objects.
        now: RFC 3339 time.

    Raises:
        Rejected: where the API server rejects a child, or others have one of its name.
    """
    key = Key(llm.namespace, llm.name)
    live = [obj for kind in CHILD_KINDS for obj in cluster.children(kind, key)]
    deployment = cluster.stores[kinds.DEPLOYMENT].get(llm.namespace, llm.name)
    repositories = cluster.children(kinds.CONFIG_MAP, key)
    in_use = needs.repositories_in_use(deployment, cluster.children(kinds.POD, key), repositories)
    for action in actions(desired, live, llm.uid, in_use):
        await _act(cluster, llm, action, now)
        if isinstance(action, Apply) and action.reverts:
            await _report_reverted(cluster, (obj, action.obj | {"metadata": _live(live, action)["metadata"]}), action)


def _live(live: Iterable[Object], action: Apply) -> Object:
    return next(obj for obj in live if obj["metadata"]["uid"] == action.uid)


async def _report_reverted(cluster: ClusterView, about: Iterable[Object], action: Apply) -> None:
    """Post an event about the LLMDeployment, and one about the child, where whoever changed it looks."""
    log.warning("%s", action.reverts)
    for one in about:
        reason = Reason.CHANGE_REVERTED
        await cluster.events.post(one, kind="Warning", reason=reason, action="Revert", note=action.reverts)


async def _act(cluster: ClusterView, llm: LLMDeployment, action: Apply | Delete, now: str) -> None:
    if isinstance(action, Delete):
        log.info("%s/%s: delete %s: it %s", llm.namespace, llm.name, kinds.ref_of(action.obj), action.why)
        await cluster.delete(action.obj)
        return
    await write_child(cluster, llm, action.obj, action.uid, now)


async def write_child(cluster: ClusterView, llm: LLMDeployment, obj: Object, uid: str | None, now: str) -> None:
    """Apply an object that the LLMDeployment owns.

    Args:
        uid: of the live one; None where none is known.
        now: RFC 3339 time.

    Raises:
        Rejected: where the API server rejects it, or others have one of its name.
    """
    ref = kinds.ref_of(obj)
    log.info("%s/%s: apply %s", llm.namespace, llm.name, ref)
    try:
        if uid is None:
            await _create(cluster, llm, obj, now)
        else:
            await cluster.apply(obj, uid=uid)
    except Invalid as error:
        what = f"The API server rejected {ref}: {error.reason}."
        raise Rejected(Reason.CHILD_REFUSED, f"{what} {refusals.advice(error.reason, _CORRECT)}") from error
    except Forbidden as error:
        what = f"Access to {ref} is denied: {error.reason}."
        raise Rejected(Reason.CHILD_FORBIDDEN, f"{what} {refusals.advice(error.reason)}") from error


async def _create(cluster: ClusterView, llm: LLMDeployment, obj: Object, now: str) -> None:
    """Apply a child that is not known yet. An object of its name that others created is never taken over."""
    try:
        await cluster.apply(obj, uid=None)
    except Conflict:
        ref = kinds.ref_of(obj)
        found = await cluster.refresh(ref)
        if found is None:
            raise  # it has just been deleted
        if adoption.is_orphan(found, llm.name, llm.uid):
            raise  # it has just lost its owner: the next reconcile adopts it
        if deleted := found["metadata"].get("deletionTimestamp"):
            raise _being_deleted(ref, deleted, now) from None
        if owner := foreign_owner(found, llm.uid):
            fix = "Delete or rename it, or give this LLMDeployment another name."
            raise Rejected(Reason.NAME_TAKEN, f"{ref} exists and belongs to {owner}. {fix}") from None
        await cluster.apply(obj, uid=found["metadata"]["uid"])  # ours, without the label that we watch


def _being_deleted(ref: Ref, deleted: str, now: str) -> Rejected:
    """Why a child cannot be created yet. `deleted`: RFC 3339 time at which its deletion was to end."""
    message = f"{ref} of a former owner is being deleted. It is created again when it is gone."
    if seconds_between(deleted, now) <= _DELETION_S:
        return Rejected(Reason.CREATING, message)
    return Rejected(Reason.NAME_TAKEN, f"{message} This takes more than 10 minutes: check its finalizers.")
