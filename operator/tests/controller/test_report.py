"""The last step of a reconcile: when a pod that does not serve is looked at again, and which events there are."""

from __future__ import annotations

import asyncio
import json
import random
from functools import partial
from typing import Any

import pytest

from tests.builders.deployments import LLAMA_8B
from tests.builders.reports import SAID
from tests.builders.worlds import planning_world
from tests.fake.controllers import Controllers
from tests.fake.world import World
from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.conditions import find
from triton_vllm_operator.api.kinds import Key, Object
from triton_vllm_operator.backoff import Backoff
from triton_vllm_operator.controller.queue import Result
from triton_vllm_operator.controller.steps import probe

KEY = Key("team", "a")
OWN = "registry.example/triton-vllm:vllm-0.32.0"
"""An image of ours, whose pods have a report."""
PLACE = (kinds.LLM_DEPLOYMENT, "team", "a")


class AtOnce(random.Random):
    """Controllers that do not pause."""

    def uniform(self, a: float, b: float) -> float:
        return 0.0


class Pods:
    """Pods that answer with a token unless there is an `error`, and have a report."""

    def __init__(self, error: str = "") -> None:
        self.error = error

    async def ask(self, ip: str, model: str) -> str:
        return self.error

    async def report(self, ip: str) -> bytes:
        return json.dumps(SAID).encode()


async def ready_world(pods: Pods) -> World:
    """A world whose pods are ready, as far as their kubelets go."""
    world = await planning_world(LLAMA_8B, server={"image": OWN})
    world.reconciler.prober.probe = pods
    world.reconciler.engine_reports.source = pods
    await look(world)
    task = asyncio.ensure_future(Controllers(world.api, AtOnce()).run())
    await asyncio.sleep(0.5)
    task.cancel()
    await asyncio.wait([task])
    return world


async def look(world: World) -> Result:
    """One reconcile, after the watches have seen everything."""
    for kind, store in world.manager.cluster.stores.items():
        for obj in world.api.all(kind):
            store.put(json.loads(json.dumps(obj)))
    return await world.manager.reconcile(world.manager.cluster, KEY)


async def look_answered(world: World) -> Result:
    """The reconcile after pods have answered with a token and with their engine's report."""
    for _ in range(2):
        await look(world)
        await asyncio.sleep(0.01)
    return await look(world)


def scale(obj: Object, replicas: int) -> None:
    obj["spec"]["replicas"] = replicas


def condition(world: World, kind: str) -> tuple[str, str]:
    found = find(world.api.objects[PLACE]["status"]["conditions"], kind) or {}
    return found["status"], found["reason"]


def posted(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The reasons of events, before the recorder drops those that it has posted lately."""
    reasons: list[str] = []

    async def post(about: Object, *, reason: str, **_: Any) -> None:
        reasons.append(reason)

    monkeypatch.setattr(world.manager.cluster.events, "post", post)
    return reasons


async def test_a_pod_that_is_ready_without_a_token_is_asked_again_in_the_background(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probe, "RETRY", Backoff(0.01, 0.01))
    pods = Pods("HTTP 503")
    world = await ready_world(pods)
    woken: list[Key] = []
    world.manager.cluster.wake = woken.append
    result = await look(world)
    assert (result.reason, result.after) == ("NoToken", 601.0), "then it is Stalled"
    await asyncio.sleep(0.1)
    assert woken == [KEY], "the same answer again is not news"
    assert (await look(world)).reason == "NoToken"
    assert condition(world, "Ready") == ("False", "NoToken")
    pods.error = ""
    await asyncio.sleep(0.1)
    assert woken == [KEY, KEY]
    assert (await look(world)).reason == "Ready"
    assert condition(world, "Ready")[0] == "True"


async def test_an_engine_that_got_something_else_than_planned_has_one_event(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await ready_world(Pods())
    reasons = posted(world, monkeypatch)
    await look_answered(world)
    status, reason = condition(world, "PlanAccurate")
    assert status == "False"
    assert reasons.count(reason) == 1
    for replicas in (2, 3):  # the status changes, and the plan is as inaccurate as before
        world.api.change(PLACE, "user", partial(scale, replicas=replicas))
        await look(world)
    assert condition(world, "PlanAccurate") == (status, reason)
    assert reasons.count(reason) == 1
