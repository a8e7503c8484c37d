"""What Kubernetes' own controllers and kubelets would do, on the true state, each after a short while."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

from tests.fake.api import FakeAPI, Place
from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.kinds import Object

NAMES = {"Deployment": "deployment-controller", "GC": "garbage-collector", "kubelet": "kubelet"}


@dataclass
class Controllers:
    """Deployments get pods, pods become ready, children of deleted owners go."""

    api: FakeAPI
    rand: random.Random
    _made: int = 0

    async def run(self) -> None:
        """Until cancelled. Every change of a Deployment, a pod or an owner is looked at a moment later."""
        seen = 0
        while True:
            if self.api.version == seen:
                await self.api.news()
            await asyncio.sleep(self.rand.uniform(0.0, 1.0))
            seen = self.api.version
            self._collect()
            for deployment in self.api.all(kinds.DEPLOYMENT):
                self._turn(deployment)

    def _collect(self) -> None:
        alive = {obj["metadata"]["uid"] for obj in self.api.objects.values()}
        for place, obj in list(self.api.objects.items()):
            owners = obj["metadata"].get("ownerReferences", [])
            if owners and all(owner["uid"] not in alive for owner in owners):
                self.api.delete(place, NAMES["GC"])

    def _turn(self, deployment: Object) -> None:
        """One step of a rolling update that never has fewer ready pods than wanted."""
        pods = [pod for pod in self.api.all(kinds.POD) if _owner(pod) == deployment["metadata"]["uid"]]
        template, wanted = deployment["spec"]["template"], deployment["spec"]["replicas"]
        current = [pod for pod in pods if _hash(pod) == template["metadata"]["annotations"]]
        for pod in current:
            if not _ready(pod) and self._mountable(pod):
                self.api.change(_place(pod), NAMES["kubelet"], _become_ready)
        ready = [pod for pod in current if _ready(pod)]
        if len(current) < wanted:
            self._make_pod(deployment)
        spare = current[wanted:] or ([pod for pod in pods if pod not in current][:1] if len(ready) >= wanted else [])
        for pod in spare[:1]:
            self.api.delete(_place(pod), NAMES["Deployment"])
        self._tell(deployment, len(pods), len(current), len(ready))

    def _mountable(self, pod: Object) -> bool:
        """A kubelet waits for a ConfigMap that a pod mounts and that does not exist."""
        wanted = [volume["configMap"]["name"] for volume in pod["spec"]["volumes"] if "configMap" in volume]
        return all(self.api.get(kinds.CONFIG_MAP, pod["metadata"]["namespace"], name) for name in wanted)

    def _tell(self, deployment: Object, pods: int, updated: int, ready: int) -> None:
        status = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": pods,
            "updatedReplicas": updated,
            "readyReplicas": ready,
            "availableReplicas": ready,
        }
        if deployment.get("status") != status:
            self.api.change(_place(deployment), NAMES["Deployment"], lambda obj: obj.update(status=status))

    def _make_pod(self, deployment: Object) -> None:
        self._made += 1
        meta = deployment["metadata"]
        template = deployment["spec"]["template"]
        owner = {"kind": "Deployment", "name": meta["name"], "uid": meta["uid"], "controller": True}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                **template["metadata"],
                "name": f"{meta['name']}-{self._made}",
                "namespace": meta["namespace"],
                "ownerReferences": [owner],
            },
            "spec": template["spec"],
        }
        self.api.create(pod, NAMES["Deployment"])


def _become_ready(pod: Object) -> None:
    condition = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    container = {"name": "server", "ready": True, "started": True, "restartCount": 0, "state": {"running": {}}}
    pod["status"] = {
        "phase": "Running",
        "podIP": "10.0.0.1",
        "conditions": [condition],
        "containerStatuses": [container],
    }


def _ready(pod: Object) -> bool:
    return bool(pod.get("status", {}).get("conditions"))


def _hash(pod: Object) -> Object:
    found: Object = pod["metadata"].get("annotations", {})
    return found


def _owner(pod: Object) -> str:
    return str(pod["metadata"].get("ownerReferences", [{}])[0].get("uid", ""))


def _place(obj: Object) -> Place:
    return kinds.kind_of(obj), obj["metadata"]["namespace"], obj["metadata"]["name"]
