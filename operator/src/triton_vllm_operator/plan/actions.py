"""The writes that bring the children of an LLMDeployment to their desired state."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from triton_vllm_operator.api import kinds, names
from triton_vllm_operator.plan.drift import first_difference, holds

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Apply:
    """Server-side apply of one child over the live one with this uid; None: no child of that name is known.

    Attributes:
        reverts: what others have changed and this write takes back, for people; "" where it is a change of the spec.
    """

    obj: dict[str, Any]
    uid: str | None
    reverts: str = ""


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete one live child; its uid is the precondition."""

    obj: Object
    why: str


Action = Apply | Delete


def actions(
    desired: Sequence[dict[str, Any]], live: Iterable[Object], owner_uid: str, in_use: frozenset[str]
) -> list[Action]:
    """The writes, in order: applies, then deletions. Objects of other owners are left alone.

    Args:
        desired: complete child objects, in the order in which they are to be applied.
        live: live objects with our labels.
        owner_uid: uid of the LLMDeployment.
        in_use: names of the model repositories that pods mount or may still mount; they are not deleted.
    """
    ours = {_identity(o): o for o in live if kinds.is_owned(o, owner_uid)}
    kept = {_identity(o) for o in desired}
    return [
        *(_apply(o, ours.get(_identity(o))) for o in desired if _needs_apply(o, ours.get(_identity(o)))),
        *(Delete(o, "is not desired any more") for key, o in ours.items() if key not in kept and _spare(o, in_use)),
    ]


def _needs_apply(desired: dict[str, Any], live: Object | None) -> bool:
    return live is None or not holds(live, desired)


def _apply(desired: dict[str, Any], live: Object | None) -> Apply:
    return Apply(desired, str(live["metadata"]["uid"]), _reverted(desired, live)) if live else Apply(desired, None)


def _reverted(desired: dict[str, Any], live: Object) -> str:
    """What others have changed: the live object still has the hash of what was applied, and it is the same now."""
    meta = desired["metadata"]
    name = meta.get("labels", {}).get(names.INSTANCE_LABEL, "")
    applied = (live["metadata"].get("annotations") or {}).get(names.APPLIED_HASH_ANNOTATION)
    if applied is None or applied != meta.get("annotations", {}).get(names.APPLIED_HASH_ANNOTATION):
        return ""
    path, value = first_difference(live, desired)
    what = f"{desired['kind']} {meta['name']}: {path} was changed by others, and is what the LLMDeployment says again."
    if (desired["kind"], path) == (kinds.DEPLOYMENT.kind, "spec.replicas"):
        command = f"kubectl scale llm/{name} -n {meta['namespace']} --replicas={value}"
        return f"{what} Scale the LLMDeployment: {command}; or where spec.autoscaling is set, change its limits."
    return f"{what} Change LLMDeployment {name} instead."


def _spare(obj: Object, in_use: frozenset[str]) -> bool:
    return not _going(obj) and not (obj["kind"] == "ConfigMap" and obj["metadata"]["name"] in in_use)


def _going(obj: Object) -> bool:
    return "deletionTimestamp" in obj["metadata"]


def _identity(obj: Object) -> tuple[str, str]:
    return obj["kind"], obj["metadata"]["name"]


def foreign_owner(obj: Object, owner_uid: str) -> str | None:
    """The owner of a live object with a child's name, as a phrase for a message; None where it is the LLMDeployment."""
    if kinds.is_owned(obj, owner_uid):
        return None
    meta = obj["metadata"]
    owner = next((ref for ref in meta.get("ownerReferences", []) if ref.get("controller")), None)
    if owner is not None:
        return f"{owner['kind']} {owner['name']}"
    manager = meta.get("labels", {}).get(names.MANAGED_BY_LABEL)
    return manager or "another owner"
