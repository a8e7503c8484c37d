"""Nobody stops the others: a namespace that is forbidden, gone or slow, and pods that cannot be reached."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.fake import clock
from tests.fake.world import World
from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.conditions import find
from triton_vllm_operator.api.kinds import Key, Object
from triton_vllm_operator.controller.readiness import liveness_problems, readiness_problems

SPEC = {"model": {"uri": "hf://org/model"}, "server": {"image": "nvcr.io/nvidia/tritonserver:26.06-vllm-python-py3"}}


class QuietKopf:
    """kopf's watch, which the test itself stands in for."""

    starts = 1

    def __init__(self) -> None:
        self.heard: float | None = time.monotonic()
        self.turned = time.monotonic()
        self.restarts = 0

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


def ready(world: World, namespace: str, name: str = "x") -> Object:
    found = world.api.get(kinds.LLM_DEPLOYMENT, namespace, name) or {}
    return find(found.get("status", {}).get("conditions", []), "Ready") or {}


def run(work: Callable[[World], Awaitable[None]], prepare: Callable[[World], None] = lambda _: None) -> None:
    """Run an operator for the namespaces a and b on a clock that jumps."""

    async def live() -> None:
        world = World.of(1, "a", "b")
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
