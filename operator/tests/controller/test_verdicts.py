"""What tools think of an LLMDeployment at each moment of its life: kstatus (flux and others) and Argo CD.

The moments come from the real reconcile on the fake API server; `test_status.py` in tests/apiserver looks at the moment
before the operator has written anything, which only a real API server shows.
"""

from __future__ import annotations

import asyncio
import copy
import random
from pathlib import Path
from typing import Any

import pytest
from lupa.lua54 import LuaRuntime

from tests.fake import clock
from tests.fake.api import FakeAPI
from tests.fake.controllers import Controllers
from tests.fake.kstatus import verdict
from tests.fake.world import World
from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.conditions import find, summary
from triton_vllm_operator.api.kinds import Key, Object

SCRIPT = (Path(__file__).parents[2] / "docs" / "argocd" / "health.lua").read_text()
PLACE = (kinds.LLM_DEPLOYMENT, "team", "a")
MODEL = {"uri": "hf://org/model"}
# Moment -> verdict of kstatus, verdict of Argo CD, reason in the status.
EXPECTED: dict[str, tuple[str, str, str]] = {
    "created": ("Current", "Progressing", ""),  # the real API server shows Reconciling=True here
    "first look": ("InProgress", "Progressing", "Scaling"),
    "served": ("Current", "Healthy", "Serving"),
    "changed, not seen": ("InProgress", "Progressing", "Serving"),
    "rolling": ("InProgress", "Progressing", "RollingOut"),
    "rolled": ("Current", "Healthy", "Serving"),
    "scaled up": ("InProgress", "Progressing", "Scaling"),
    "impossible": ("Failed", "Degraded", "ArgumentUnknown"),
    "healed": ("Current", "Healthy", "Serving"),
    "scaled to zero": ("Current", "Suspended", "ScaledToZero"),
    "image missing": ("Failed", "Degraded", "ImagePullFailed"),
    "going": ("Terminating", "Suspended", "ScaledToZero"),
}


def lua(value: Any, runtime: LuaRuntime) -> Any:
    """A Lua table of a JSON value, all the way down."""
    if isinstance(value, dict):
        return runtime.table_from({key: lua(inner, runtime) for key, inner in value.items()})
    return runtime.table_from([lua(inner, runtime) for inner in value]) if isinstance(value, list) else value


def argo(obj: Object) -> tuple[str, str]:
    """(health, message) by the script, in a Lua of its own."""
    runtime = LuaRuntime(unpack_returned_tuples=True)
    runtime.globals().obj = lua(obj, runtime)
    found = runtime.execute(SCRIPT)
    return str(found.status), str(found.message)


class Life:
    """One LLMDeployment from its creation to its end, with its state at each moment."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.moments: dict[str, Object] = {}
        self.controllers = Controllers(world.api, random.Random(1))

    @property
    def api(self) -> FakeAPI:
        return self.world.api

    async def look(self, moment: str) -> None:
        """The state after the watches have reported everything and the pods have answered."""
        await asyncio.sleep(2)
        for _ in range(3):  # a token, then the engine's report
            await self.world.manager.reconcile(self.world.manager.cluster, Key("team", "a"))
            await asyncio.sleep(0.01)
        self.note(moment)

    def note(self, moment: str) -> None:
        self.moments[moment] = copy.deepcopy(self.api.objects[PLACE])

    def change(self, **spec: Any) -> None:
        self.api.change(PLACE, "user", lambda obj: obj.update(spec={"model": MODEL, **spec}))

    async def settle(self) -> None:
        """The controllers bring the pods to what the Deployment says."""
        task = asyncio.ensure_future(self.controllers.run())
        await asyncio.sleep(30)
        task.cancel()
        await asyncio.wait([task])

    async def live(self) -> None:
        body = {"apiVersion": PLACE[0].api_version, "kind": PLACE[0].kind, "spec": {"model": MODEL}}
        self.api.create({**body, "metadata": {"name": "a", "namespace": "team"}}, "user")
        self.note("created")
        await self.look("first look")
        await self.settle()
        await self.look("served")
        await self._roll()
        await self._fail_and_heal()
        await self._end()

    async def _roll(self) -> None:
        self.change(engine={"maxModelLen": 512})
        self.note("changed, not seen")
        await self.look("rolling")
        await self.settle()
        await self.look("rolled")
        self.change(engine={"maxModelLen": 512}, replicas=2)
        await self.look("scaled up")
        await self.settle()

    async def _fail_and_heal(self) -> None:
        self.change(engine={"maxModelLen": 512, "extraArgs": {"no_such_argument": 1}})
        await self.look("impossible")
        self.change(engine={"maxModelLen": 512})
        await self.look("healed at first")
        await self.settle()
        await self.look("healed")

    async def _end(self) -> None:
        pod = next(place for place in self.api.objects if place[0] == kinds.POD)
        self.api.change(pod, "kubelet", _image_missing)
        await self.look("image missing")
        self.change(engine={"maxModelLen": 512}, replicas=0)
        await self.look("scaling to zero")
        await self.settle()
        await self.look("scaled to zero")
        self.api.change(PLACE, "user", lambda obj: obj["metadata"].update(deletionTimestamp="2026-01-01T00:00:00Z"))
        self.note("going")


def _image_missing(pod: Object) -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    [container] = pod["status"]["containerStatuses"]
    pod["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
    pod["status"]["containerStatuses"] = [container | {"ready": False, "state": waiting}]


async def lived() -> dict[str, Object]:
    made = World.of(0)
    made.chaos.calm()
    watches = [asyncio.ensure_future(watch.run()) for watch in made.manager.reflectors]
    life = Life(made)
    await life.live()
    for task in watches:
        task.cancel()
    await asyncio.wait(watches)
    return life.moments


@pytest.fixture(scope="module")
def moments() -> dict[str, Object]:
    return clock.run(lived())


@pytest.mark.parametrize("moment", EXPECTED)
def test_the_verdict_is_right_at_each_moment(moments: dict[str, Object], moment: str) -> None:
    obj = moments[moment]
    told = summary(obj.get("status", {}).get("conditions", [])) or {"reason": ""}
    assert (verdict(obj), argo(obj)[0], told["reason"]) == EXPECTED[moment]


def test_nobody_who_waits_for_ready_takes_zero_replicas_for_it(moments: dict[str, Object]) -> None:
    assert find(moments["scaled to zero"]["status"]["conditions"], "Ready") is None


def test_a_degraded_deployment_says_in_argo_cd_what_to_do(moments: dict[str, Object]) -> None:
    assert "no_such_argument" in argo(moments["impossible"])[1]


def test_generations_in_the_status_never_go_backwards(moments: dict[str, Object]) -> None:
    seen = [obj["status"]["observedGeneration"] for obj in moments.values() if "status" in obj]
    assert seen == sorted(seen)
