"""The loop that reads pods and decides: when a reconcile is asked for, what a restart knows, whom a slow pod delays."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.builders.deployments import llm
from tests.fake import clock
from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.kinds import Key, Object
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.controller.probe import Unreachable
from triton_vllm_operator.controller.probe_pool import FIRST, ProbePool
from triton_vllm_operator.controller.steps.autoscale import INTERVAL_S, Autoscaler
from triton_vllm_operator.desired.revisions import Revision
from triton_vllm_operator.kube.errors import Forbidden
from triton_vllm_operator.observed.gpu_shortage import GPUUse
from triton_vllm_operator.plan.autoscaling_report import Scaling
from triton_vllm_operator.plan.rollout_report import Rollout

KEY = Key("team", "llama")
SPEC = {"maxReplicas": 4, "target": {"inFlightPerReplica": 10}}
REVISION = Revision("llama-1", 1, {})


def pod(number: int, *, ready: bool = True) -> Object:
    name = f"llama-{number}"
    return {
        "metadata": {"name": name, "uid": name},
        "spec": {"nodeName": "n"},
        "status": {
            "phase": "Running",
            "podIP": f"10.0.0.{number}",
            "conditions": [{"type": "Ready", "status": str(ready)}],
        },
    }


class GPUs:
    """As `FreeGPUs`."""

    def __init__(self) -> None:
        self.free: int | None = None
        self.reserved: list[int] = []

    async def room(self, cluster: Any, one: LLMDeployment) -> tuple[int | None, GPUUse | None]:
        return self.free, None

    def reserve(self, key: Key, what: str, one: LLMDeployment, pods: int = 1) -> None:
        self.reserved.append(pods)

    def release(self, key: Key, what: str) -> None:
        self.reserved.clear()


@dataclass
class Cluster:
    """As much of the cluster as autoscaling needs."""

    pods: list[Object] = field(default_factory=lambda: [pod(1)])
    probes: ProbePool = field(default_factory=ProbePool)
    scaling: dict[Key, tuple[int, str]] = field(default_factory=dict)
    woken: int = 0
    scalers: list[Object] | None = None

    def children(self, kind: Any, key: Key) -> list[Object]:
        return self.pods

    def wake(self, key: Key) -> None:
        assert key == KEY
        self.woken += 1

    @property
    def client(self) -> Cluster:
        return self

    async def list_all(self, kind: Any, namespace: str) -> list[Object]:
        assert (kind, namespace) == (kinds.HPA, "team")
        if self.scalers is None:
            raise Forbidden("no")
        return self.scalers


@dataclass
class Pods:
    """Metrics by address."""

    loads: dict[str, float] = field(default_factory=dict)
    slow: set[str] = field(default_factory=set)
    asked: int = 0

    async def metrics(self, ip: str) -> bytes:
        self.asked += 1
        if ip in self.slow:
            await asyncio.sleep(2)
            raise Unreachable("no response from port 8002 within 2 s")
        return b"vllm:num_requests_running %f\nvllm:num_requests_waiting 0\n" % self.loads.get(ip, 0.0)


@dataclass
class Scene:
    """One LLMDeployment that is reconciled by hand."""

    cluster: Any
    pods: Pods
    gpus: Any
    autoscaler: Autoscaler
    replicas: int = 1
    spec: Object = field(default_factory=lambda: dict(SPEC))
    stored: Object = field(default_factory=dict)

    def reconcile(self, **more: Any) -> Scaling | None:
        """What is reported; the number is that of the next reconcile."""
        given = {"autoscaling": self.spec} if self.spec else {}
        one = llm(**given).with_scaled(self.replicas)
        rollout = Rollout(one, REVISION, REVISION)
        obj = {"metadata": {}, "spec": {}, "status": self.stored, **more}
        found = self.autoscaler.report(self.cluster, KEY, obj, rollout, len(self.cluster.pods))
        if found is not None:
            self.replicas = found.status.desired_replicas
        return found

    async def rounds(self, count: int = 1) -> None:
        await asyncio.sleep(count * INTERVAL_S)


def run(work: Callable[[Scene], Awaitable[None]]) -> None:
    async def start() -> None:
        pods, gpus = Pods(), GPUs()
        made: Any = gpus
        autoscaler = Autoscaler(pods, made, clock=lambda: "t", rand=random.Random(0))
        await work(Scene(Cluster(), pods, gpus, autoscaler))

    clock.run(start())


def test_nothing_is_woken_while_nothing_changes() -> None:
    async def work(scene: Scene) -> None:
        assert (first := scene.reconcile()) is not None
        assert first.condition.reason == Reason.AUTOSCALING_STARTING
        scene.pods.loads["10.0.0.1"] = 9
        await scene.rounds(2)
        assert scene.cluster.woken == 1
        assert (found := scene.reconcile()) is not None
        assert found.condition.reason == Reason.AUTOSCALED
        scene.pods.loads["10.0.0.1"] = 10
        await scene.rounds(40)
        assert scene.cluster.woken == 1
        assert scene.pods.asked >= 40
        assert scene.cluster.scaling == {KEY: (1, "Autoscaled")}

    run(work)


def test_a_number_is_reported_first_and_applied_by_the_next_reconcile() -> None:
    async def work(scene: Scene) -> None:
        scene.pods.loads["10.0.0.1"] = 30
        scene.reconcile()
        await scene.rounds(2)
        woken = scene.cluster.woken
        assert (found := scene.reconcile()) is not None
        assert (found.status.desired_replicas, found.status.last_scale_time) == (3, "t")
        assert scene.cluster.woken == woken + 1, "the next reconcile writes the Deployment"
        assert scene.gpus.reserved == [2]
        again = scene.reconcile()
        assert (again, scene.cluster.woken) == (found, woken + 1)

    run(work)


def test_a_write_that_fails_is_decided_once() -> None:
    async def work(scene: Scene) -> None:
        scene.pods.loads["10.0.0.1"] = 30
        scene.reconcile()
        await scene.rounds(4)
        followed = scene.autoscaler._followed[KEY]
        assert [one.pods for one in followed.history.changes] == [2]

    run(work)


def test_after_a_restart_the_number_does_not_fall_before_the_window_has_passed() -> None:
    async def work(scene: Scene) -> None:
        scene.replicas, scene.cluster.pods = 3, [pod(1), pod(2), pod(3)]
        scene.reconcile()
        await scene.rounds(15)
        scene.reconcile()
        assert scene.replicas == 3
        await scene.rounds(8)
        scene.reconcile()
        assert scene.replicas == 1

    run(work)


def test_pods_without_an_answer_delay_no_other_llmdeployment() -> None:
    async def work(scene: Scene) -> None:
        scene.cluster.pods = [pod(number) for number in range(1, FIRST + 50)]
        scene.pods.slow = {one["status"]["podIP"] for one in scene.cluster.pods}
        scene.reconcile()
        await scene.rounds(2)
        assert (found := scene.reconcile()) is not None
        assert found.condition.reason == Reason.AUTOSCALING_WITHOUT_METRICS
        before = asyncio.get_running_loop().time()
        async with scene.cluster.probes.slot(again=False):
            assert asyncio.get_running_loop().time() == before

    run(work)


def test_a_new_maximum_holds_at_once() -> None:
    async def work(scene: Scene) -> None:
        scene.replicas = 4
        scene.reconcile()
        scene.spec = {**SPEC, "maxReplicas": 2}
        assert (found := scene.reconcile()) is not None
        assert found.status.desired_replicas == 2

    run(work)


@pytest.mark.parametrize("forgets", [True, False])
def test_without_autoscaling_nothing_is_read(forgets: bool) -> None:
    async def work(scene: Scene) -> None:
        scene.reconcile()
        await scene.rounds(2)
        scene.spec = {}
        if forgets:
            assert scene.reconcile() is None
        else:
            scene.autoscaler.forget(scene.cluster, KEY)
        asked = scene.pods.asked
        await scene.rounds(4)
        assert (scene.pods.asked, scene.cluster.scaling) == (asked, {})

    run(work)


def test_an_operator_that_reconciles_no_more_reads_no_more() -> None:
    async def work(scene: Scene) -> None:
        scene.reconcile()
        await scene.rounds(100)
        asked = scene.pods.asked
        await scene.rounds(10)
        assert scene.pods.asked == asked

    run(work)


def test_a_change_beside_autoscaling_is_warned_of() -> None:
    async def work(scene: Scene) -> None:
        one = llm(autoscaling=SPEC, replicas=3)
        target = {"kind": "LLMDeployment", "name": "llama"}
        scene.cluster.scalers = [{"metadata": {"name": "mine"}, "spec": {"scaleTargetRef": target}}]
        old = {"spec": {"autoscaling": SPEC, "replicas": 1}}
        found = await scene.autoscaler.warnings(scene.cluster, one, old)
        assert [(problem.field, problem.rejects) for problem in found] == [
            ("spec.replicas", False),
            ("spec.autoscaling", False),
        ]
        assert len(await scene.autoscaler.warnings(scene.cluster, one, None)) == 1
        assert await scene.autoscaler.warnings(scene.cluster, llm(), old) == []

    run(work)
