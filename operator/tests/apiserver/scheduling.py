"""A stand-in for the scheduler and the kubelets of one node with GPUs, which serves the pods of one namespace.

A pod whose server has the variable BROKEN ends again and again, as one with a refused argument does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tests.apiserver.controlplane import ControlPlane
from tests.apiserver.gpus import UNSCHEDULABLE, node_there
from tests.apiserver.kubelet import pod_ready
from tests.apiserver.view import MERGE_PATCH, Object, View
from tests.builders.deployments import A10, node
from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.names import INSTANCE_LABEL

POLL_S = 0.2
BROKEN = {"name": "BROKEN", "value": "1"}


def pod_broken() -> Object:
    """The status of a pod whose server has ended twice."""
    ended = {"exitCode": 1, "reason": "Error", "message": "unrecognized arguments: --no-such", "startedAt": _now()}
    state = {"waiting": {"reason": "CrashLoopBackOff"}}
    server = {
        "name": "server", "image": "i", "imageID": "", "ready": False, "started": False, "restartCount": 2,
        "state": state, "lastState": {"terminated": {**ended, "finishedAt": _now()}},
    }  # fmt: skip
    return {"phase": "Running", "podIP": "10.1.2.3", "containerStatuses": [server], "conditions": []}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class OneNode:
    """The node, and what was seen of the pods at each look.

    Attributes:
        places: whether pods are placed now.
        least_ready: lowest number of ready pods that are not being deleted, since `watch`.
        most_placed: highest number of pods on the node.
        ready: number of ready pods at the last look.
        ip_of: address of a pod, by its name.
    """

    view: View
    gpus: int
    places: bool = True
    least_ready: int = 99
    most_placed: int = 0
    names: set[str] = field(default_factory=set)
    ready: int = 0
    ip_of: Callable[[str], str] = lambda _: "10.1.2.3"

    def watch(self) -> None:
        """Count from now on."""
        self.least_ready, self.most_placed, self.names = 99, 0, set()

    def turn(self) -> None:
        """Place, start and end pods, once."""
        every = self.view.all_of(kinds.POD)
        pods = [pod for pod in every if INSTANCE_LABEL in pod["metadata"].get("labels", {})]
        ready = [pod for pod in pods if _is_ready(pod) and "deletionTimestamp" not in pod["metadata"]]
        placed = [pod for pod in every if pod["spec"].get("nodeName")]
        self.ready = len(ready)
        self.least_ready = min(self.least_ready, len(ready))
        self.most_placed = max(self.most_placed, len(placed))
        self.names |= {pod["metadata"]["name"] for pod in pods}
        free = self.gpus - len(placed)
        for pod in pods:
            if "deletionTimestamp" in pod["metadata"]:
                self._request("DELETE", pod, "", {"gracePeriodSeconds": 0})
            elif pod["spec"].get("nodeName"):
                if pod["status"].get("phase") == "Pending":
                    self._write(
                        pod, pod_broken() if _is_broken(pod) else pod_ready(self.ip_of(pod["metadata"]["name"]))
                    )
            elif self.places and free > 0:
                free -= 1
                target = {"apiVersion": "v1", "kind": "Node", "name": self.view.namespace}
                self._request(
                    "POST", pod, "/binding", {"metadata": {"name": pod["metadata"]["name"]}, "target": target}
                )
            elif self.places and not pod["status"].get("conditions"):
                self._write(pod, UNSCHEDULABLE)

    def _write(self, pod: Object, status: Object) -> None:
        path = kinds.POD.path(self.view.namespace, pod["metadata"]["name"], "status")
        self.view.plane.request("PATCH", path, {"status": status}, MERGE_PATCH)

    def _request(self, method: str, pod: Object, below: str, body: Object) -> None:
        path = kinds.POD.path(self.view.namespace, pod["metadata"]["name"])
        self.view.plane.request(method, f"{path}{below}", body)


def _is_ready(pod: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))


def _is_broken(pod: Object) -> bool:
    return BROKEN in pod["spec"]["containers"][0].get("env", [])


@contextmanager
def one_node(plane: ControlPlane, namespace: str, gpus: int) -> Iterator[OneNode]:
    """While it lasts, the cluster has a node of so many GPUs that bears the namespace's name, with a kubelet."""
    stop = threading.Event()
    made = OneNode(View(plane, namespace), gpus)

    def run() -> None:
        while not stop.wait(POLL_S):
            made.turn()

    found = node(A10, gpus=gpus, name=namespace)
    found["metadata"]["labels"]["kubernetes.io/hostname"] = namespace
    with node_there(plane, namespace, found):
        thread = threading.Thread(target=run, name="node", daemon=True)
        thread.start()
        try:
            yield made
        finally:
            stop.set()
            thread.join(30)
