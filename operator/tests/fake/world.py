"""The operator put together on the fake API server: all parts are real but HTTP, kopf's watch and the clock."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from kubernetes.aio.client import Configuration

from tests.fake.api import FakeAPI
from tests.fake.chaos import Chaos
from tests.fake.transport import Transport
from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.kinds import Key, Object
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.controller.manager import Manager
from triton_vllm_operator.controller.metrics import Metrics
from triton_vllm_operator.controller.probe import NoReport, Unreachable
from triton_vllm_operator.controller.reconcile import Probe, Reconciler
from triton_vllm_operator.controller.settings import Settings
from triton_vllm_operator.desired.children import CHILD_KINDS
from triton_vllm_operator.kube.client import Client


class Answers:
    """Every pod answers with a token, and has no report."""

    async def ask(self, ip: str, model: str) -> str:
        return ""

    async def report(self, ip: str) -> bytes:
        raise NoReport(Reason.REPORT_NOT_SERVED, "its image has none", final=True)

    async def metrics(self, ip: str) -> bytes:
        raise Unreachable("no response")


@dataclass
class World:
    """One API server and one operator, made from one seed."""

    api: FakeAPI
    chaos: Chaos
    manager: Manager
    transport: Transport
    reconciler: Reconciler

    @classmethod
    def of(cls, seed: int, *namespaces: str, probe: Probe | None = None) -> World:
        """Call it in the event loop that runs it. The operator serves all namespaces unless some are given."""
        rand = random.Random(seed)
        api, chaos = FakeAPI(), Chaos(random.Random(rand.random()))
        transport, metrics = Transport(api, chaos), Metrics()
        client = Client(Configuration(host="http://fake"), rest=transport, observe=metrics.called)
        reconciler = Reconciler.make(probe or Answers(), clock=lambda: "2026-01-01T00:00:00Z")
        manager = Manager.on(
            client, reconciler.reconcile, Settings(namespaces=namespaces, leader_election=False), metrics
        )
        manager.queue.rand = random.Random(rand.random())
        for watch in manager.reflectors:
            watch.rand = random.Random(rand.random())
        return cls(api, chaos, manager, transport, reconciler)

    def with_operator_image(self, image: str) -> None:
        """From now on models are inspected, by pods with this image."""
        settings = replace(self.reconciler.settings, operator_image=image)
        self.reconciler.settings = self.reconciler.inspector.settings = self.reconciler.planner.settings = settings


async def served(spec: Object, metadata: Object | None = None) -> World:
    """An API server without faults after one reconcile of a new LLMDeployment `a` in namespace `team`.

    Args:
        metadata: of the LLMDeployment, such as labels.
    """
    made = World.of(0)
    made.chaos.calm()
    made.chaos.slow_s = 0.002  # on a clock that does not jump, too
    kind = kinds.LLM_DEPLOYMENT
    meta = {"name": "a", "namespace": "team", **(metadata or {})}
    body = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": meta}
    made.api.create({**body, "spec": spec}, "user")
    await made.manager.reconcile(made.manager.cluster, Key("team", "a"))
    return made


async def reconciled(spec: Object, metadata: Object | None = None) -> tuple[list[Object], Object]:
    """The children and the status in such a world."""
    made = await served(spec, metadata)
    children = [obj for kind in CHILD_KINDS for obj in made.api.all(kind)]
    found = made.api.get(kinds.LLM_DEPLOYMENT, "team", "a")
    assert found is not None
    return children, found["status"]
