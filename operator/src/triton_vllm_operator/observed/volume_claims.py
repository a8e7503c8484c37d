"""Whether a PersistentVolumeClaim can be used, read from its status."""

from collections.abc import Mapping
from typing import Any


def problem(claim: Mapping[str, Any]) -> str:
    """Return what is wrong with a PersistentVolumeClaim, and what to do about it; "" where a pod can use it."""
    meta, phase = claim["metadata"], claim.get("status", {}).get("phase")
    name = f"PersistentVolumeClaim {meta['name']}"
    describe = f"kubectl describe pvc {meta['name']} -n {meta['namespace']}"
    if "deletionTimestamp" in meta:
        return f"{name} is being deleted, so no new pod can use it. Create it again when it is gone."
    if phase == "Lost":
        return (
            f"{name} has lost its volume, which does not exist any more. Delete it and create it again; see {describe}."
        )
    return "" if phase == "Bound" else f"{name} is not bound to a volume yet. {describe} shows what it waits for."
