"""Two operators that serve the same namespace, with one setting different: both say so, and nothing moves."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from kubernetes.aio.client import Configuration

from tests.controller.test_neighbours import QuietKopf
from tests.fake import clock
from tests.fake.api import FakeAPI
from tests.fake.chaos import Chaos
from tests.fake.transport import Transport
from tests.fake.world import Answers
from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.conditions import find
from triton_vllm_operator.api.kinds import Key, Object
from triton_vllm_operator.controller.manager import Manager
from triton_vllm_operator.controller.metrics import Metrics
from triton_vllm_operator.controller.reconcile import Reconciler
from triton_vllm_operator.controller.settings import Settings
from triton_vllm_operator.desired.inputs import Defaults
from triton_vllm_operator.desired.pod_settings import PodSettings
from triton_vllm_operator.kube.client import Client
from triton_vllm_operator.observed.claims import TAKEOVER_S

SPEC = {"model": {"uri": "hf://org/model"}, "server": {"image": "nvcr.io/nvidia/tritonserver:26.06-vllm-python-py3"}}
KEY = Key("team", "a")
ASK_S = 4 * TAKEOVER_S


def now() -> str:
    """The time of the clock that jumps."""
    passed = timedelta(seconds=asyncio.get_running_loop().time())
    return (datetime(2026, 1, 1, tzinfo=UTC) + passed).strftime("%Y-%m-%dT%H:%M:%SZ")


class Overlap:
    """One API server, and operators by name that differ in an environment variable of the serving pods."""

    def __init__(self) -> None:
        self.api, self.chaos = FakeAPI(), Chaos(random.Random(0))
        self.chaos.calm()
        self.operators: dict[str, Manager] = {}
        self.tasks: dict[str, list[asyncio.Task[None]]] = {}

    def start(self, name: str) -> Manager:
        metrics = Metrics()
        client = Client(Configuration(host="http://fake"), rest=Transport(self.api, self.chaos), observe=metrics.called)
        pods = PodSettings(defaults=Defaults(env={"HF_ENDPOINT": f"http://{name}"}))
        made = Reconciler.make(Answers(), pods, clock=now)
        settings = Settings(lease_namespace=name, leader_election=False)
        manager = Manager.on(client, made.reconcile, settings, metrics)
        manager.watch = QuietKopf()  # type: ignore[assignment]
        self.operators[name] = manager
        self.tasks[name] = [asyncio.ensure_future(loop) for loop in manager.loops()]
        self.tasks[name].append(asyncio.ensure_future(self._kopf(manager)))
        return manager

    async def _kopf(self, manager: Manager) -> None:
        """What kopf's watch sees."""
        seen = 0
        while True:
            if self.api.version == seen:
                await self.api.news()
            for change in self.api.since(kinds.LLM_DEPLOYMENT, seen):
                if change.new is not None:
                    manager.audit.seen(KEY, change.version)
            seen = self.api.version

    async def kill(self, name: str) -> None:
        tasks = self.tasks.pop(name)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    def create(self) -> None:
        kind, meta = kinds.LLM_DEPLOYMENT, {"name": KEY.name, "namespace": KEY.namespace}
        self.api.create({"apiVersion": kind.api_version, "kind": kind.kind, "metadata": meta, "spec": SPEC}, "user")

    def deployment(self) -> Object:
        found = self.api.get(kinds.DEPLOYMENT, *KEY)
        assert found is not None
        return found

    def by(self) -> str:
        """Whose setting the Deployment has."""
        env = self.deployment()["spec"]["template"]["spec"]["containers"][0]["env"]
        return next(str(one["value"]).removeprefix("http://") for one in env if one["name"] == "HF_ENDPOINT")

    def condition(self) -> Object:
        obj = self.api.get(kinds.LLM_DEPLOYMENT, *KEY) or {}
        return dict(find(obj.get("status", {}).get("conditions", []), "Contested") or {})

    def metric(self, name: str) -> bool:
        return b'operator_contested{name="a"' in self.operators[name].metrics.text()


def run(work: Callable[[Overlap], Awaitable[None]]) -> None:
    async def live() -> None:
        world = Overlap()
        try:
            await work(world)
        finally:
            for name in list(world.tasks):
                await world.kill(name)

    clock.run(live())


def test_the_first_one_goes_on_both_know_and_nothing_moves() -> None:
    async def work(world: Overlap) -> None:
        world.start("first")
        world.create()
        await asyncio.sleep(10)
        before = world.deployment()
        world.start("second")
        await asyncio.sleep(20)
        assert world.condition()["reason"] == "OperatorsOverlap"
        events = [obj["reason"] for obj in world.api.all(kinds.EVENT)]
        assert "OperatorsOverlap" in events
        assert world.metric("first")
        assert world.metric("second")
        writes = len(world.api.writes)
        await asyncio.sleep(ASK_S * 0.9)
        assert len(world.api.writes) == writes, "nothing is written between two questions"
        await asyncio.sleep(4 * ASK_S)
        assert world.deployment() == before
        assert world.by() == "first"

    run(work)


def test_two_that_start_at_once_agree() -> None:
    async def work(world: Overlap) -> None:
        world.start("first")
        world.start("second")
        await asyncio.sleep(10)
        world.create()
        await asyncio.sleep(30)
        generation, owner = world.deployment()["metadata"]["generation"], world.by()
        await asyncio.sleep(1000)
        assert (world.deployment()["metadata"]["generation"], world.by()) == (generation, owner) == (1, owner)

    run(work)


def test_a_dead_one_is_replaced_and_does_not_fight_when_it_is_back() -> None:
    async def work(world: Overlap) -> None:
        world.start("first")
        world.create()
        await asyncio.sleep(10)
        await world.kill("first")
        world.start("second")
        await asyncio.sleep(TAKEOVER_S * 0.8)
        assert world.by() == "first"
        await asyncio.sleep(TAKEOVER_S * 0.5)
        assert world.by() == "second"
        generation = world.deployment()["metadata"]["generation"]
        world.start("first")
        await asyncio.sleep(3 * ASK_S)
        assert (world.by(), world.deployment()["metadata"]["generation"]) == ("second", generation)
        assert world.condition()["reason"] == "OperatorsOverlap"

    run(work)


def test_it_is_forgotten_when_the_second_one_is_gone() -> None:
    async def work(world: Overlap) -> None:
        world.start("first")
        world.create()
        world.start("second")
        await asyncio.sleep(30)
        assert world.condition()
        holder = (world.api.get(kinds.LLM_DEPLOYMENT, *KEY) or {})["status"]["operator"]["name"].partition("/")[0]
        await world.kill("second" if holder == "first" else "first")
        await asyncio.sleep(4 * ASK_S)
        assert not world.condition()
        assert not world.metric(holder)

    run(work)


def test_a_restart_of_the_only_one_writes_nothing() -> None:
    async def work(world: Overlap) -> None:
        world.start("first")
        world.create()
        await asyncio.sleep(10)
        await world.kill("first")
        writes = len(world.api.writes)
        world.start("first")
        await asyncio.sleep(100)
        assert len(world.api.writes) == writes
        assert not world.condition()

    run(work)
