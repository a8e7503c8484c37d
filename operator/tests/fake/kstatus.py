"""The verdict of kstatus (kubernetes-sigs/cli-utils, pkg/kstatus) about a custom resource, by its published rules.

`flux`, `kubectl wait`-like tools and Argo CD's own checks follow these or the same conventions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Verdict = Literal["InProgress", "Failed", "Current", "Terminating"]


def verdict(obj: Mapping[str, Any]) -> Verdict:
    """First what is true of every object, then the standard conditions, then Ready; without Ready it is Current."""
    meta, status = obj["metadata"], obj.get("status", {})
    if "deletionTimestamp" in meta:
        return "Terminating"
    if "observedGeneration" in status and status["observedGeneration"] != meta.get("generation"):
        return "InProgress"
    conditions = {c["type"]: c["status"] for c in status.get("conditions", [])}
    if conditions.get("Reconciling") == "True":
        return "InProgress"
    if conditions.get("Stalled") == "True":
        return "Failed"
    return "InProgress" if conditions.get("Ready", "True") != "True" else "Current"
