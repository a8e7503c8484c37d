"""A stand-in for nodes: writes into every pod of some namespaces what a kubelet writes once a server is ready.

Every inspection pod finds a model that needs four H100.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from tests.apiserver.controlplane import ControlPlane
from tests.apiserver.inspections import SELECTOR, inspected_pod_status
from tests.apiserver.view import Object
from tests.builders.deployments import LLAMA_70B
from triton_vllm_operator.api import kinds
from triton_vllm_operator.capacity import shape_from_config
from triton_vllm_operator.plan.inspection_protocol import InspectedModel

POLL_S = 0.25
MODEL = InspectedModel("c" * 40, shape_from_config(LLAMA_70B))


def pod_ready(ip: str = "10.1.2.3", restarts: int = 0) -> Object:
    """The status of a pod that serves, as a kubelet would write it."""
    # Longer ago than minReadySeconds, and not so long that a server without a token counts as stalled.
    since = (datetime.now(UTC) - timedelta(seconds=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
    true = {"status": "True", "lastTransitionTime": since}
    return {
        "phase": "Running",
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "conditions": [{"type": "Ready", **true}, {"type": "PodScheduled", **true}],
        "containerStatuses": [_container({"running": {"startedAt": since}}, ready=True) | {"restartCount": restarts}],
    }


def pod_waiting(reason: str, message: str) -> Object:
    """The status of a pod whose container cannot start."""
    waiting = {"waiting": {"reason": reason, "message": message}}
    return {"phase": "Pending", "containerStatuses": [_container(waiting, ready=False)], "conditions": []}


def _container(state: Object, *, ready: bool) -> Object:
    return {
        "name": "server",
        "image": "i",
        "imageID": "",
        "ready": ready,
        "started": ready,
        "restartCount": 0,
        "state": state,
    }


@contextmanager
def kubelet(plane: ControlPlane, prefix: str) -> Iterator[None]:
    """While it runs, every pod of the namespaces that start with `prefix` becomes ready, and is gone when deleted."""
    stop = threading.Event()

    def turn() -> None:
        _, pods = plane.request("GET", kinds.POD.path())
        for pod in pods.get("items", []):
            if pod["metadata"]["namespace"].startswith(prefix):
                _serve(plane, pod)

    def run() -> None:
        while not stop.wait(POLL_S):
            turn()

    thread = threading.Thread(target=run, name="kubelet", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)


def _serve(plane: ControlPlane, pod: Object) -> None:
    meta = pod["metadata"]
    path = kinds.POD.path(meta["namespace"], meta["name"])
    if "deletionTimestamp" in meta:
        plane.request("DELETE", path, {"gracePeriodSeconds": 0})
    elif pod["status"].get("phase") == "Pending":
        status = inspected_pod_status(MODEL) if SELECTOR in meta["labels"] else pod_ready()
        plane.request("PATCH", f"{path}/status", {"status": status}, "application/merge-patch+json")
