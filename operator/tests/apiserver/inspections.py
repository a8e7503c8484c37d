"""Inspection pods as a test sees them, and what a kubelet would encode_result when one of them has ended."""

from __future__ import annotations

import time
from typing import Any

from tests.apiserver.operators import eventually
from tests.apiserver.view import Object, View
from triton_vllm_operator.api import kinds
from triton_vllm_operator.plan.inspection_protocol import InspectedModel, InspectionResult, encode_result

IMAGE = ("--operator-image=registry.example/operator:1",)
"""What makes an operator inspect models."""
SELECTOR = "serving.triton-vllm.dev/inspects"


def inspections(view: View) -> list[Object]:
    """Those that are not being deleted."""
    items = view.all_of(kinds.POD, SELECTOR)
    return [item for item in items if "deletionTimestamp" not in item["metadata"]]


def inspection(view: View, attempt: int = 0) -> str:
    """Name of the only inspection pod, once it is that attempt."""

    names: list[str] = []

    def there() -> bool:
        names[:] = [item["metadata"]["name"] for item in inspections(view)]
        return len(names) == 1 and names[0].endswith(f"-{attempt}")

    eventually(f"attempt {attempt} alone", there)
    return names[0]


def container(view: View) -> dict[str, Any]:
    """The container of the only inspection pod."""
    [pod] = inspections(view)
    [found] = pod["spec"]["containers"]
    return dict(found)


def fake_result(view: View, pod: str, outcome: InspectionResult) -> None:
    """What the kubelet writes when the program has ended."""
    view.fake_pod_status(pod, inspected_pod_status(outcome))


def inspected_pod_status(outcome: InspectionResult) -> Object:
    """The status of an inspection pod that has ended."""
    code = 0 if isinstance(outcome, InspectedModel) else 1
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    message = encode_result(outcome)
    ended = {"exitCode": code, "reason": "Completed", "message": message, "finishedAt": now, "startedAt": now}
    state = {"name": "inspect", "image": "i", "imageID": "", "ready": False, "restartCount": 0}
    statuses = [{**state, "state": {"terminated": ended}}]
    return {"phase": "Failed" if code else "Succeeded", "containerStatuses": statuses}
