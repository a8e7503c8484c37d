"""Health probes for the kubelet and for people: health turns bad when something is stuck for real, and only then."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.fake import clock
from tests.fake.world import World
from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.kinds import Key, Object
from triton_vllm_operator.controller.queue import Result
from triton_vllm_operator.controller.readiness import liveness_problems, readiness_problems

MODEL = {"uri": "hf://org/model", "tokenSecretRef": {"name": "hub"}}


class QuietKopf:
    """kopf's watch of a cluster in which nothing happens."""

    starts = 1

    def __init__(self) -> None:
        self.turned = self.heard = time.monotonic()

    def restart(self) -> None:
        """There is nothing to start again."""


async def run_for(world: World, seconds: float) -> list[asyncio.Task[Any]]:
    world.chaos.calm()
    kopf: Any = QuietKopf()
    world.manager.watch = kopf
    tasks = [asyncio.ensure_future(loop) for loop in world.manager.loops()]
    await asyncio.sleep(seconds)
    return tasks


def create(world: World, name: str = "a", **spec: Any) -> None:
    kind = kinds.LLM_DEPLOYMENT
    meta = {"name": name, "namespace": "team"}
    body = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": meta, "spec": {"model": MODEL, **spec}}
    world.api.create(body, "user")
    world.manager.audit.seen(Key("team", name), 1)


async def finished(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def test_a_quiet_operator_is_healthy_and_ready_for_hours() -> None:
    async def live() -> None:
        world = World.of(1)
        assert readiness_problems(world.manager) != [], "nothing was listed yet"
        tasks = await run_for(world, 7200)
        assert liveness_problems(world.manager) == []
        assert readiness_problems(world.manager) == []
        await finished(tasks)

    clock.run(live())


def test_an_api_server_that_is_down_does_not_make_the_operator_unhealthy() -> None:
    async def live() -> None:
        world = World.of(1)
        tasks = await run_for(world, 60)
        world.chaos.refused = 1.0
        create(world)
        await asyncio.sleep(3600)
        assert liveness_problems(world.manager) == [], "a restart would cure nothing"
        await finished(tasks)

    clock.run(live())


def test_a_watch_that_does_nothing_is_told() -> None:
    async def live() -> None:
        world = World.of(1)
        tasks = await run_for(world, 60)
        tasks[0].cancel()
        await asyncio.sleep(300)
        [told] = liveness_problems(world.manager)
        assert "configmaps" in told
        await finished(tasks)

    clock.run(live())


def test_a_reconcile_that_hangs_beyond_its_limit_is_told() -> None:
    async def hang(cluster: object, key: Key) -> Result:
        while True:  # as a defect would: it swallows the cancellation at its limit
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if asyncio.get_running_loop().time() > 400:
                    raise

    async def live() -> None:
        world = World.of(1)
        world.manager.reconcile = hang
        tasks = await run_for(world, 10)
        create(world)
        await asyncio.sleep(380)
        assert any("a reconcile has been running for" in told for told in liveness_problems(world.manager))
        await asyncio.sleep(60)
        await finished(tasks)

    clock.run(live())


# ------------------------------------------------------------------ events and logs


def events(world: World) -> list[tuple[str, str]]:
    return [(obj["type"], obj["reason"]) for obj in world.api.all(kinds.EVENT)]


def test_one_event_for_each_thing_and_none_in_a_loop(caplog: pytest.LogCaptureFixture) -> None:
    async def live() -> tuple[list[tuple[str, str]], Object]:
        world = World.of(1)
        tasks = await run_for(world, 10)
        create(world, engine={"extraArgs": {"no_such_argument": 1}})
        await asyncio.sleep(7200)
        told = events(world)
        await finished(tasks)
        found = world.api.get(kinds.LLM_DEPLOYMENT, "team", "a")
        assert found is not None
        return told, found

    caplog.set_level("INFO")
    told, _ = clock.run(live())
    assert told == [("Warning", "ArgumentUnknown")], "one event in two hours of looking again"
    lines = [record.getMessage() for record in caplog.records if "ArgumentUnknown" in record.getMessage()]
    assert len(lines) == 1
    assert lines[0].startswith("team/a: ")


def test_logs_name_the_object_and_never_a_value_of_the_environment(caplog: pytest.LogCaptureFixture) -> None:
    async def live() -> None:
        world = World.of(1)
        tasks = await run_for(world, 10)
        create(world, podTemplate={"env": [{"name": "HF_TOKEN", "value": "hf_very_secret"}]})
        await asyncio.sleep(60)
        await finished(tasks)

    caplog.set_level("DEBUG")
    clock.run(live())
    lines = [record.getMessage() for record in caplog.records if "team/a" in record.getMessage()]
    assert len(lines) >= 5
    assert not any("hf_very_secret" in record.getMessage() for record in caplog.records)
