"""Nodes with GPUs and pods that hold them, as a scheduler would have placed them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.apiserver.controlplane import ControlPlane
from tests.apiserver.operators import eventually
from tests.apiserver.view import MERGE_PATCH, Object, View
from triton_vllm_operator.api import kinds

LACKING = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."
NAMESPACES = "/api/v1/namespaces"
UNSCHEDULABLE: Object = {
    "phase": "Pending",
    "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": LACKING}],
}


@contextmanager
def node_there(plane: ControlPlane, name: str, made: Object) -> Iterator[None]:
    """While it lasts, the cluster has this node; `made`: its metadata and status."""
    plane.must("POST", kinds.NODE.path(), {"metadata": {**made["metadata"], "name": name}})
    plane.must("PATCH", kinds.NODE.path(name=name, subresource="status"), {"status": made["status"]}, MERGE_PATCH)
    yield
    plane.must("DELETE", kinds.NODE.path(name=name))


@contextmanager
def namespace_there(plane: ControlPlane, name: str) -> Iterator[View]:
    """While it lasts, the cluster has this namespace, in which pods can be made."""
    plane.must("POST", NAMESPACES, {"metadata": {"name": name}})
    account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
    eventually("its service account", lambda: plane.request("GET", account)[0] == 200)
    yield View(plane, name)
    plane.must("DELETE", f"{NAMESPACES}/{name}")


def serving_pod_gets(view: View, status: Object) -> None:
    """Write the status of the namespace's only serving pod, once it is there."""
    label = "serving.triton-vllm.dev/llmdeployment"

    def pods() -> list[str]:
        return [str(pod["metadata"]["name"]) for pod in view.pods() if label in pod["metadata"].get("labels", {})]

    eventually("a serving pod", lambda: len(pods()) == 1)
    view.fake_pod_status(pods()[0], status)


def hold(view: View, name: str, node: str, gpus: int, **spec: Any) -> None:
    """A pod that holds GPUs of a node; `spec`: more of its spec."""
    secure = {
        "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    limits = {"limits": {"nvidia.com/gpu": str(gpus)}}
    container = {"name": "c", "image": "i", "resources": limits, "securityContext": secure}
    body = {"metadata": {"name": name}, "spec": {"nodeName": node, "containers": [container], **spec}}
    view.plane.must("POST", kinds.POD.path(view.namespace), body)
