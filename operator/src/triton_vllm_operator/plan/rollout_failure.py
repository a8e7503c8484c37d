"""Whether a new revision has failed: its server ends again and again, gives no token, or is not ready in time."""

from __future__ import annotations

from triton_vllm_operator.api.conditions import find_in
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.desired.deployment import progress_deadline_seconds
from triton_vllm_operator.observed import findings
from triton_vllm_operator.observed.observation import Observation
from triton_vllm_operator.observed.pods import PodState

STALLED_S = 300.0
"""How long a pod of a new revision may lack what its spec names, such as a Secret, until the revision has failed."""
_CRASHES = frozenset({Reason.SERVER_FAILED, Reason.OUT_OF_MEMORY, Reason.CONTAINER_NOT_CREATED})
_LACKS = frozenset(
    {
        Reason.CLAIM_NOT_FOUND,
        Reason.SECRET_NOT_FOUND,
        Reason.SECRET_KEY_NOT_FOUND,
        Reason.CONFIG_MAP_NOT_FOUND,
        Reason.CONFIG_MAP_KEY_NOT_FOUND,
        Reason.CONTAINER_NOT_CREATED,
        Reason.IMAGE_PULL_FAILED,
        Reason.MOUNT_FAILED,
        Reason.CONTAINER_FAILED,
    }
)
"""Causes that lie in the revision, and that may still go away while the user creates what is missing."""


def failure(seen: Observation, since: str = "") -> str | None:
    """Why the revision that is being rolled out has failed, or None.

    Args:
        seen: with the answers of its pods.
        since: RFC 3339 time at which it was tried again; "" where it was not.
    """
    if not seen.current_pods:
        return None
    found = findings.first_finding(seen)
    if found is not None and found.reason in _CRASHES and any(_ended_twice(pod) for pod in seen.current_pods):
        return found.message
    lasting = any(seen.longer_than(STALLED_S, pod.created) for pod in seen.current_pods if not pod.ready)
    if found is not None and found.reason in _LACKS and lasting:
        return found.message
    if found is not None and found.reason == Reason.NO_TOKEN and found.stalled:
        return found.message
    if _too_late(seen, since):
        why = f" {found.reason}: {found.message}" if found is not None else ""
        return f"No further pod became ready within the progress deadline.{why}"
    return None


def _ended_twice(pod: PodState) -> bool:
    """Whether two runs of its server have ended before it was ready: the first may have met a network that failed."""
    server = pod.server
    if pod.ready or server.started or pod.had_served or not server.failure_reason:
        return False
    return server.restarts >= (2 if server.running else 1)


def _too_late(seen: Observation, since: str) -> bool:
    """Whether the Deployment's controller says so, and the time is over since the revision was tried again too: what
    it says stays until there is progress.
    """
    seconds = progress_deadline_seconds(seen.llm)
    if since and not seen.longer_than(seconds, since):
        return False
    progressing = find_in(seen.deployment, "Progressing") or {}
    return seen.deployment_observed and progressing.get("reason") == "ProgressDeadlineExceeded"
