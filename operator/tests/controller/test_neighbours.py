"""Each stands alone: a namespace that is forbidden, gone or slow, and pods that cannot be reached, stop no other."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from tests.fake import clock
from tests.fake.world import Answers, World
from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.conditions import find
from triton_vllm_operator.api.kinds import Key
from triton_vllm_operator.controller.probe import Unreachable
from triton_vllm_operator.controller.probe_pool import AGAIN, FIRST
from triton_vllm_operator.controller.readiness import liveness_problems, readiness_problems

SPEC = {"model": {"uri": "hf://org/model"}, "server": {"image": "nvcr.io/nvidia/tritonserver:26.06-vllm-python-py3"}}


class Silent(Answers):
    """Pods of namespace b, with addresses in 10.1, cannot be reached; those of a answer."""

    def __init__(self) -> None:
        self.asked = 0
        self.at_a_time = self.most = 0
        self.open = False

    async def ask(self, ip: str, model: str) -> str:
        if self.open or not ip.startswith("10.1."):
            return ""
        self.asked += 1
        self.at_a_time += 1
        self.most = max(self.most, self.at_a_time)
        try:
            await asyncio.sleep(8)
        finally:
            self.at_a_time -= 1
        raise Unreachable("no connection to port 8000 within 8 s")


class QuietKopf:
    """kopf's watch, which the test itself stands in for."""

    starts = 1

    def __init__(self) -> None:
        self.heard: float | None = time.monotonic()
        self.restarts = 0

    @property
    def turned(self) -> float:
        """It has always just sent a request: the test may take longer than its clock says."""
        return time.monotonic()

    def restart(self) -> None:
        self.restarts += 1


def create(world: World, namespace: str, name: str = "x", *, seen: bool = True) -> None:
    kind = kinds.LLM_DEPLOYMENT
    meta = {"name": name, "namespace": namespace}
    made = world.api.create({"apiVersion": kind.api_version, "kind": kind.kind, "metadata": meta, "spec": SPEC}, "user")
    if seen:
        world.manager.audit.seen(Key(namespace, name), int(made["metadata"]["resourceVersion"]))


def has_children(world: World, namespace: str, name: str = "x") -> bool:
    return world.api.get(kinds.DEPLOYMENT, namespace, name) is not None


def ready(world: World, namespace: str, name: str = "x") -> Mapping[str, Any]:
    found = world.api.get(kinds.LLM_DEPLOYMENT, namespace, name) or {}
    return find(found.get("status", {}).get("conditions", []), "Ready") or {}


def run(work: Callable[[World], Awaitable[None]], prepare: Callable[[World], None] = lambda _: None) -> None:
    """Run an operator for the namespaces a and b on a clock that jumps."""

    async def live() -> None:
        world = World.of(1, "a", "b", probe=Silent())
        world.chaos.calm()
        world.chaos.slow_s = 0.01
        prepare(world)
        kopf: Any = QuietKopf()
        world.manager.watch = kopf
        tasks = [asyncio.ensure_future(loop) for loop in world.manager.loops()]
        try:
            await asyncio.sleep(30)
            await work(world)
            assert not [task for task in tasks if task.done()], "a loop has ended"
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    clock.run(live())


def served(world: World) -> dict[str, float]:
    lines = world.manager.metrics.text().decode().splitlines()
    name = "triton_vllm_operator_namespace_served{namespace="
    return {line.split('"')[1]: float(line.split()[-1]) for line in lines if line.startswith(name)}


def forbid_b(world: World) -> None:
    world.transport.forbidden.add("b")


def test_a_namespace_that_is_forbidden_at_the_start_does_not_stop_the_other(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

    async def work(world: World) -> None:
        create(world, "a")
        await asyncio.sleep(2)
        assert has_children(world, "a")
        assert readiness_problems(world.manager) == liveness_problems(world.manager) == []
        assert served(world) == {"a": 1.0, "b": 0.0}
        lines = [record.getMessage() for record in caplog.records if "/b: " in record.getMessage()]
        watches = len(world.manager.reflectors) // 2
        assert len(lines) == watches, "one line for each watch, not for each try"
        await asyncio.sleep(600)
        assert readiness_problems(world.manager) == liveness_problems(world.manager) == []
        # Its RoleBinding is made at last.
        create(world, "b", seen=False)
        world.transport.forbidden.clear()
        await asyncio.sleep(60)
        assert has_children(world, "b")
        assert served(world) == {"a": 1.0, "b": 1.0}

    run(work, forbid_b)


def test_a_role_that_is_taken_away_later_does_not_stop_the_other_namespace() -> None:
    async def work(world: World) -> None:
        create(world, "b")
        await asyncio.sleep(2)
        assert has_children(world, "b")
        forbid_b(world)
        await asyncio.sleep(3600)
        create(world, "a")
        await asyncio.sleep(2)
        assert has_children(world, "a")
        assert readiness_problems(world.manager) == liveness_problems(world.manager) == []
        assert served(world) == {"a": 1.0, "b": 0.0}
        world.transport.forbidden.clear()
        await asyncio.sleep(30)
        assert served(world) == {"a": 1.0, "b": 1.0}

    run(work)


def test_children_that_may_not_be_listed_are_told_in_the_status(caplog: pytest.LogCaptureFixture) -> None:
    def forbid_pods(world: World) -> None:
        world.transport.forbidden.add("b/pods")

    async def work(world: World) -> None:
        create(world, "a")
        create(world, "b")
        await asyncio.sleep(60)
        assert has_children(world, "a")
        assert not has_children(world, "b"), "nothing is written where it is not known what there is"
        assert ready(world, "b")["reason"] == "APIServerError"
        assert "pods is forbidden" in ready(world, "b")["message"]

    run(work, forbid_pods)


def test_a_deleted_namespace_does_not_stop_the_other() -> None:
    async def work(world: World) -> None:
        create(world, "b")
        await asyncio.sleep(2)
        for kind in (kinds.DEPLOYMENT, kinds.LLM_DEPLOYMENT):
            world.api.delete((kind, "b", "x"), "user")
        forbid_b(world)  # its RoleBinding is gone with it
        await asyncio.sleep(600)
        create(world, "a")
        await asyncio.sleep(1)
        assert has_children(world, "a")
        assert readiness_problems(world.manager) == liveness_problems(world.manager) == []

    run(work)


def test_a_slow_namespace_does_not_delay_the_other() -> None:
    def slow_b(world: World) -> None:
        world.transport.slow_s["b"] = 19.0

    async def work(world: World) -> None:
        create(world, "a")
        await asyncio.sleep(1)
        assert has_children(world, "a")
        create(world, "a", "missed", seen=False)
        await asyncio.sleep(75)
        assert has_children(world, "a", "missed"), "the audit of a does not wait for that of b"

    run(work, slow_b)


def test_no_namespace_that_can_be_listed_is_not_ready() -> None:
    async def work(world: World) -> None:
        assert any("pods/b is not synced: list Pod" in told for told in readiness_problems(world.manager))
        assert liveness_problems(world.manager) == []
        world.transport.forbidden.clear()
        await asyncio.sleep(30)
        assert readiness_problems(world.manager) == []

    def forbid_both(world: World) -> None:
        world.transport.forbidden |= {"a", "b"}

    run(work, forbid_both)


def test_a_watch_that_misses_one_namespace_again_and_again_is_restarted_once() -> None:
    async def work(world: World) -> None:
        kopf: Any = world.manager.watch
        for n in range(3):
            create(world, "b", f"x{n}", seen=False)
            await asyncio.sleep(80)
        assert kopf.restarts == 1
        world.manager.audit.seen(Key("b", "x0"), world.api.version)
        await asyncio.sleep(80)
        assert kopf.restarts == 2, "the watch has worked since, so another restart may help"

    run(work)


# ------------------------------------------------------------------------------------------- pods without an answer

UNREACHABLE = 500


def start_pod(world: World, namespace: str, name: str, ip: str) -> None:
    """What the controllers and the kubelet do: the Deployment has one ready pod."""
    place = (kinds.DEPLOYMENT, namespace, name)
    deployment = world.api.objects[place]
    template = deployment["spec"]["template"]
    meta = {"name": f"{name}-1", "namespace": namespace, **template["metadata"]}
    made = world.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]}, "kubelet")
    since = {"lastTransitionTime": "2026-01-01T00:00:00Z"}
    status = {
        "phase": "Running",
        "podIP": ip,
        "conditions": [{"type": "Ready", "status": "True", **since}],
        "containerStatuses": [{"name": "server", "ready": True, "started": True, "restartCount": 0,
                               "state": {"running": {}}}],
    }  # fmt: skip
    world.api.change((kinds.POD, namespace, made["metadata"]["name"]), "kubelet", lambda obj: obj.update(status=status))
    generation = deployment["metadata"].get("generation", 1)
    counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), 1)
    world.api.change(place, "controller", lambda obj: obj.update(status={"observedGeneration": generation, **counts}))


def test_pods_that_cannot_be_reached_delay_no_other_deployment() -> None:
    async def work(world: World) -> None:
        probe: Any = world.reconciler.prober.probe
        for n in range(UNREACHABLE):
            create(world, "b", f"x{n}")
        await asyncio.sleep(20)
        for n in range(UNREACHABLE):
            start_pod(world, "b", f"x{n}", f"10.1.{n // 250}.{n % 250 + 1}")
        in_time = 0
        for n in range(20):
            await asyncio.sleep(3)
            create(world, "a", f"new{n}")
            await asyncio.sleep(1)
            in_time += has_children(world, "a", f"new{n}")
            assert readiness_problems(world.manager) == liveness_problems(world.manager) == []
        assert in_time == 20, "children within a second"
        assert probe.most <= FIRST + AGAIN
        # They are named in metric and status, with what to do; a new one is proven beside them.
        await asyncio.sleep(300)
        line = 'triton_vllm_operator_pods_without_answer{name="x7",namespace="b"} 1.0'
        assert line in world.manager.metrics.text().decode().splitlines()
        assert ready(world, "b", "x7")["reason"] == "NoToken"
        assert "ports 8000 and 9000" in ready(world, "b", "x7")["message"]
        start_pod(world, "a", "new0", "10.0.0.1")
        await asyncio.sleep(2)
        assert ready(world, "a", "new0")["status"] == "True"
        # Backoff: each is asked once a minute, not all the time.
        asked = probe.asked
        await asyncio.sleep(600)
        assert probe.asked - asked <= UNREACHABLE * 11
        probe.open = True
        await asyncio.sleep(90)
        assert ready(world, "b", "x7")["status"] == "True"
        assert world.manager.cluster.probes.unanswered == {}

    run(work)
