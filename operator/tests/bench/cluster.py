"""A real API server filled like a busy cluster, and what is measured on it. No node runs: pods are only objects."""

from __future__ import annotations

import http.client
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.apiserver.controlplane import ADMIN_TOKEN, ControlPlane
from tests.apiserver.operators import PROVEN, OperatorProcess
from tests.apiserver.view import Object, llm
from triton_vllm_operator.api import kinds

NAMESPACE = "default"
FOREIGN = "foreign"
NODE_IMAGES = 100
HANDS = 8  # connections that create at the same time, as a GitOps tool would


class Connection:
    """One kept connection of the administrator."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._connection = plane.connect()

    def send(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Object:
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}", "Content-Type": content_type}
        self._connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = self._connection.getresponse()
        found: Object = json.loads(answer.read() or b"{}")
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {found.get('message')}")
        return found


def send_all(plane: ControlPlane, requests: Sequence[tuple[str, str, Any]]) -> float:
    """Send (method, path, body) over some connections; the seconds that it took."""
    local = threading.local()

    def send(request: tuple[str, str, Any]) -> None:
        if not hasattr(local, "connection"):
            local.connection = Connection(plane)
        local.connection.send(*request)

    began = time.monotonic()
    with ThreadPoolExecutor(HANDS) as pool:
        list(pool.map(send, requests))
    return time.monotonic() - began


def fill(plane: ControlPlane, nodes: int, pods: int) -> None:
    """Nodes, and pods that are none of our business."""
    send_all(plane, [("POST", kinds.NODE.path(), _node(number)) for number in range(nodes)])
    send_all(plane, [("POST", "/api/v1/namespaces", {"metadata": {"name": FOREIGN}})])
    # No controller runs that would make it, and pods are refused without.
    account = {"metadata": {"name": "default"}}
    send_all(plane, [("POST", f"/api/v1/namespaces/{FOREIGN}/serviceaccounts", account)])
    send_all(plane, [("POST", kinds.POD.path(FOREIGN), _pod(number, nodes)) for number in range(pods)])


def create(plane: ControlPlane, names: Sequence[str]) -> float:
    """Create LLMDeployments as fast as the API server takes them; seconds."""
    path = kinds.LLM_DEPLOYMENT.path(NAMESPACE)
    return send_all(plane, [("POST", path, llm(name)) for name in names])


def wait_for_gpus(plane: ControlPlane, names: Sequence[str]) -> None:
    """A pod of each LLMDeployment that the scheduler finds no GPUs for."""
    send_all(plane, [("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})])
    message = "0/5000 nodes are available: 5000 Insufficient nvidia.com/gpu."
    waits = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    spec = {"containers": [{"name": "server", "image": "i"}], "automountServiceAccountToken": False}
    connection = Connection(plane)
    for name in names:
        meta = {"name": f"{name}-pod", "labels": {"serving.triton-vllm.dev/llmdeployment": name}}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
        connection.send("POST", kinds.POD.path(NAMESPACE), body)
        status = {"status": {"phase": "Pending", "conditions": [waits]}}
        path = kinds.POD.path(NAMESPACE, f"{name}-pod", "status")
        connection.send("PATCH", path, status, "application/merge-patch+json")


def reason(plane: ControlPlane, name: str) -> str:
    """The reason of the condition Ready."""
    found = Connection(plane).send("GET", kinds.LLM_DEPLOYMENT.path(NAMESPACE, name))
    conditions = found.get("status", {}).get("conditions", [])
    return next((str(one["reason"]) for one in conditions if one["type"] == "Ready"), "")


def _node(number: int) -> Object:
    """A node of 24 kB, most of which are the names of the images on it."""
    capacity = {"nvidia.com/gpu": "8", "cpu": "64", "memory": "512Gi", "pods": "110"}
    images = [
        {"names": [f"registry.example/team/image-{n}@sha256:{number:032d}{n:032d}"] * 2, "sizeBytes": 1}
        for n in range(NODE_IMAGES)
    ]
    status = {"capacity": capacity, "allocatable": capacity, "images": images}
    labels = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"n{number}", "labels": labels}, "status": status}


def _pod(number: int, nodes: int) -> Object:
    env = [{"name": f"SETTING_{n}", "value": "x" * 40} for n in range(15)]
    spec = {
        "nodeName": f"n{number % nodes}",
        "containers": [{"name": "c", "image": "registry.example/app:1", "env": env}],
        "automountServiceAccountToken": False,
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"p{number}", "labels": {"app": "x"}}, "spec": spec}


@dataclass
class FirstChildren:
    """When the first child of each LLMDeployment appeared, from a watch of ConfigMaps."""

    seen: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def watching(self, plane: ControlPlane) -> Iterator[None]:
        connection = plane.connect()
        path = f"{kinds.CONFIG_MAP.path(NAMESPACE)}?watch=true&labelSelector=serving.triton-vllm.dev/llmdeployment"
        connection.request("GET", path, headers={"Authorization": f"Bearer {ADMIN_TOKEN}"})
        threading.Thread(target=self._read, args=(connection.getresponse(),), daemon=True).start()
        yield

    def _read(self, stream: http.client.HTTPResponse) -> None:
        for line in stream:
            labels = json.loads(line)["object"]["metadata"].get("labels", {})
            name = labels.get("serving.triton-vllm.dev/llmdeployment")
            if name is not None:
                self.seen.setdefault(name, time.monotonic())


@contextmanager
def churning(plane: ControlPlane, names: Sequence[str], each_s: float) -> Iterator[None]:
    """A user who scales one LLMDeployment after the other, all the time."""
    stop = threading.Event()

    def run() -> None:
        connection, number = Connection(plane), 0
        while not stop.wait(each_s):
            number += 1
            path = kinds.LLM_DEPLOYMENT.path(NAMESPACE, names[number * 7 % len(names)])
            body = {"spec": {"replicas": 1 + number % 3}}
            connection.send("PATCH", path, body, "application/merge-patch+json")

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)


def until(done: Callable[[], bool], limit_s: float) -> float:
    """Seconds until `done()`; `limit_s` when it never was."""
    began = time.monotonic()
    while time.monotonic() - began < limit_s:
        if done():
            return time.monotonic() - began
        time.sleep(0.05)
    return limit_s


@contextmanager
def operator(plane: ControlPlane, *options: str) -> Iterator[OperatorProcess]:
    """An operator that alone serves the whole API server, from its being ready on."""
    with tempfile.TemporaryDirectory() as folder:
        quiet = ("--no-leader-election", "--log-level", "WARNING")
        made = OperatorProcess(plane.kubeconfig, Path(folder) / "log", PROVEN, (*quiet, *options))
        made.start()
        try:
            until(made.ready, 120)
            yield made
        finally:
            made.kill()
