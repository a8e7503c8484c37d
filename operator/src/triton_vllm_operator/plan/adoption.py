"""Which live objects are children that have lost their LLMDeployment, and the patch that gives them the new one.

That happens when an LLMDeployment is deleted with `--cascade=orphan`, and when a backup is restored: the references to
owners are lost there, or name a uid that does not exist any more. See docs/adr/0009-ownership.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from triton_vllm_operator.api import kinds, names

Object = Mapping[str, Any]


def is_orphan(obj: Object, name: str, uid: str) -> bool:
    """Whether a live object was made by the operator for an LLMDeployment of this name, and has no owner any more.

    A namespace has one LLMDeployment of a name, so a reference to one of this name with another uid leads nowhere.
    With a reference to anything else the object belongs to others.

    Args:
        name: of the LLMDeployment in the object's namespace.
        uid: of that LLMDeployment.
    """
    meta = obj["metadata"]
    labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
    return (
        "deletionTimestamp" not in meta
        and labels.get(names.MANAGED_BY_LABEL) == names.FIELD_MANAGER
        and labels.get(names.INSTANCE_LABEL) == name
        and names.APPLIED_HASH_ANNOTATION in annotations
        and _is_name_of_child(obj["kind"], meta["name"], name)
        and all(_is_former(ref, name, uid) for ref in meta.get("ownerReferences") or [])
    )


def adoption(obj: Object, owner: Object) -> dict[str, Any]:
    """The merge patch that makes `owner` the only owner of an orphan, as it was read: its version is a precondition."""
    meta = obj["metadata"]
    changed = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"], "ownerReferences": [owner]}
    return {"metadata": changed}


def _is_name_of_child(kind: str, child: str, name: str) -> bool:
    if kind in (kinds.CONFIG_MAP.kind, kinds.REVISION.kind):
        return re.fullmatch(re.escape(name) + r"-[0-9a-f]{8}", child) is not None
    return child == name or (kind == kinds.SERVICE.kind and child == names.headless(name))


def _is_former(ref: Mapping[str, Any], name: str, uid: str) -> bool:
    group = str(ref.get("apiVersion", "")).rpartition("/")[0]
    return (group, ref.get("kind"), ref.get("name")) == (names.GROUP, names.KIND, name) and ref.get("uid") != uid
