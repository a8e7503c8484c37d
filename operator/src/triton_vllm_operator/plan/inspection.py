"""The inspection pods of one LLMDeployment: which to create and delete, what they found, and when to try again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from triton_vllm_operator.api import names
from triton_vllm_operator.api.kinds import is_owned
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.backoff import Backoff
from triton_vllm_operator.capacity import ShapeError
from triton_vllm_operator.plan.inspection_protocol import (
    NO_RESULT,
    Failure,
    InspectedModel,
    InspectionResult,
    decode_result,
    one_line,
)

# From the end of an attempt to the next. What only a new commit can fix is tried again once an hour in the end.
_RETRY = Backoff(10.0, 300.0)
_RETRY_OF_FILES = Backoff(10.0, 3600.0)

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class InspectionStep:
    """What the inspection pods of one LLMDeployment mean now, and what is to be done with them.

    Attributes:
        delete: pods whose result is known, or whose model or settings are not those of the spec any more.
        create: the pod to create, or None.
        result: the newest pod's, or None while it has not ended.
        pod: the newest pod, while it has not ended.
        age_s: seconds since that pod was created.
        retry_s: seconds until the next attempt, after a failure.
    """

    delete: tuple[Object, ...] = ()
    create: dict[str, Any] | None = None
    result: InspectionResult | None = None
    pod: Object | None = None
    age_s: float = 0.0
    retry_s: float | None = None


def not_deleting(pods: Sequence[Object]) -> tuple[Object, ...]:
    """The pods that are not being deleted yet."""
    return tuple(pod for pod in pods if "deletionTimestamp" not in pod["metadata"])


def next_step(template: dict[str, Any], pods: Sequence[Object], owner_uid: str, now: datetime) -> InspectionStep:
    """The next step, from the live pods alone: a restarted operator goes on where another one stopped.

    Args:
        template: the inspection pod without the number of its attempt.
        pods: live inspection pods of the LLMDeployment.
    """
    content = template["metadata"]["labels"][names.INSPECTION_LABEL]
    same = sorted((pod for pod in pods if _inspects(pod, content, owner_uid)), key=attempt)
    newest = same[-1] if same else None
    old = not_deleting([pod for pod in pods if pod is not newest])
    if newest is None:
        return InspectionStep(delete=old, create=with_attempt(template, 0))
    ended = _termination(newest)
    if ended is None and "deletionTimestamp" in newest["metadata"]:  # deleted by others before it had a result
        return InspectionStep(delete=old, create=with_attempt(template, attempt(newest) + 1))
    if ended is None:
        age_s = _seconds_since(newest["metadata"].get("creationTimestamp", ""), now)
        return InspectionStep(delete=old, pod=newest, age_s=age_s)
    result = _result(ended)
    if isinstance(result, InspectedModel):
        return InspectionStep(delete=old, result=result)
    left = _retry_s(result, attempt(newest)) - _seconds_since(ended.get("finishedAt") or "", now)
    if left > 0:
        return InspectionStep(delete=old, result=result, retry_s=left)
    return InspectionStep(delete=old, result=result, create=with_attempt(template, attempt(newest) + 1))


def attempt(pod: Object) -> int:
    """The number of the attempt that a pod is, from 0."""
    text = pod["metadata"].get("annotations", {}).get(names.ATTEMPT_ANNOTATION, "0")
    return int(text) if text.isdigit() and len(text) < 9 else 0


def with_attempt(template: dict[str, Any], number: int) -> dict[str, Any]:
    """The pod of an attempt; each has its own name, so that it need not wait for the deletion of the last one."""
    meta = template["metadata"]
    annotations = {**meta.get("annotations", {}), names.ATTEMPT_ANNOTATION: str(number)}
    return template | {"metadata": meta | {"name": f"{meta['name']}-{number}", "annotations": annotations}}


def _inspects(pod: Object, content: str, owner_uid: str) -> bool:
    labels = pod["metadata"].get("labels", {})
    return is_owned(pod, owner_uid) and labels.get(names.INSPECTION_LABEL) == content


def _termination(pod: Object) -> Mapping[str, Any] | None:
    """How the container ended, or the pod without it; None while neither has. A sidecar may still run."""
    status = pod.get("status", {})
    for state in status.get("containerStatuses", []):
        if state["name"] == names.INSPECTION_CONTAINER and (ended := state.get("state", {}).get("terminated")):
            return dict(ended)
    if status.get("phase") not in {"Succeeded", "Failed"}:
        return None
    return {"reason": status.get("reason", ""), "message": status.get("message", ""), "finishedAt": _ended_at(pod)}


def _ended_at(pod: Object) -> str:
    conditions = pod.get("status", {}).get("conditions", [])
    times = [str(c.get("lastTransitionTime") or "") for c in conditions]
    return max([str(pod["metadata"].get("creationTimestamp", "")), *times])


def _result(ended: Mapping[str, Any]) -> InspectionResult:
    message = str(ended.get("message") or "")
    try:
        return decode_result(message)
    except ShapeError:
        cause = str(ended.get("reason") or f"exit code {ended.get('exitCode')}")
        end = f" Its log ends with: {one_line(message[-500:])}" if message else ""
        return Failure(NO_RESULT, f"The inspection pod ended without a result: {cause}.{end}")


def _retry_s(failure: Failure, number: int) -> float:
    """Seconds from the end of an attempt to the next."""
    passing = {Reason.HUB_UNREACHABLE, Reason.TOKEN_UNREADABLE, NO_RESULT, Reason.INSPECTION_TIMEOUT}
    outside = failure.definite or failure.reason in passing
    return (_RETRY if outside else _RETRY_OF_FILES).delay_s(number)


def _seconds_since(time: str, now: datetime) -> float:
    """Seconds since an RFC 3339 time; 0 for one that is absent or still to come."""
    if not time:
        return 0.0
    return max((now - datetime.fromisoformat(time)).total_seconds(), 0.0)
