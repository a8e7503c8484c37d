"""Nodes with GPUs and pods that hold them, as a scheduler would have placed them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.apiserver.controlplane import ControlPlane
from tests.apiserver.operators import eventually
from tests.apiserver.view import Object, View

LACKING = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."
UNSCHEDULABLE: Object = {
    "phase": "Pending",
    "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": LACKING}],
}


@contextmanager
def node_there(plane: ControlPlane, name: str, made: Object) -> Iterator[None]:
    """While it lasts, the cluster has this node; `made`: its metadata and status."""
    body = {"apiVersion": "v1", "kind": "Node", "metadata": {**made["metadata"], "name": name}}
    plane.kubectl("create", "-f", "-", stdin=json.dumps(body))
    status = json.dumps({"status": made["status"]})
    plane.kubectl("patch", "node", name, "--subresource=status", "--type=merge", "-p", status)
    yield
    plane.kubectl("delete", "node", name, "--wait=false")


@contextmanager
def namespace_there(plane: ControlPlane, name: str) -> Iterator[View]:
    """While it lasts, the cluster has this namespace, in which pods can be made."""
    plane.kubectl("create", "namespace", name)
    account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
    eventually("its service account", lambda: plane.request("GET", account)[0] == 200)
    yield View(plane, name)
    plane.kubectl("delete", "namespace", name, "--wait=false")


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
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}}
    view.kubectl("create", "-f", "-", stdin=json.dumps({**body, "spec": {
        "nodeName": node, "containers": [container], **spec,
    }}))  # fmt: skip
