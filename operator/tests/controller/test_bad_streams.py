"""The whole operator on a fake API server whose watches lose, repeat, delay and mix up events.

Real: client, reflectors, stores, queue, audit, reconcile. Fake: the API server, controllers, kopf's watch, the clock.
While the streams are bad a user creates, changes and deletes LLMDeployments and other people's hands take children
away. Then the streams are good again, and within one interval of the periodic list everything must be as wanted.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.fake import clock
from tests.fake.api import Change, FakeAPI, Place, Write
from tests.fake.chaos import Chaos
from tests.fake.controllers import Controllers
from tests.fake.transport import OPERATOR
from tests.fake.world import World
from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.kinds import Key, Object
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.desired import repository
from triton_vllm_operator.desired.children import CHILD_KINDS
from triton_vllm_operator.kube import reflector

SHORT = 20  # of the default tests
NAMES = ("a", "b", "c")
BAD_S = 150.0
# The longest wait after the last bad event: the list of everything, and a try of a key that has failed often.
CURED_S = reflector.LONGEST_BLIND_S + 90.0
QUIET_S = 900.0
DECISION_S = 5.0  # between what the operator reads and the last write that follows from it


@dataclass
class FakeKopf:
    """Reports keys as kopf would: late, not at all, twice, in any order; all of them when it is started again."""

    api: FakeAPI
    chaos: Chaos
    found: Callable[[Key, int], None]
    heard: float | None = 0.0
    turned: float = 0.0
    starts: int = 0
    _again: asyncio.Event = field(default_factory=asyncio.Event)

    def restart(self) -> None:
        self._again.set()

    async def run(self) -> None:
        while True:
            self.starts += 1
            self._again.clear()
            at = self.api.version
            for obj in self.api.all(kinds.LLM_DEPLOYMENT):
                self._tell(obj)
            while not self._again.is_set():
                await asyncio.sleep(self.chaos.delay() * 5)
                changes, at = self.api.since(kinds.LLM_DEPLOYMENT, at), self.api.version
                for change in self.chaos.stream(changes, self.api, kinds.LLM_DEPLOYMENT):
                    self._tell(change.new or change.old)

    def _tell(self, obj: Object | None) -> None:
        if obj is not None:
            meta = obj["metadata"]
            self.found(Key(meta["namespace"], meta["name"]), int(meta["resourceVersion"]))


@dataclass
class Person:
    """A user and other people's hands, from one seed."""

    api: FakeAPI
    rand: random.Random

    async def work(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        acts = (
            self.create,
            self.create,
            self.change,
            self.change,
            self.change,
            self.delete,
            self.hurt,
            self.deface,
            self.squat,
        )
        while loop.time() < until:
            self.rand.choice(acts)(self.rand.choice(NAMES))
            await asyncio.sleep(self.rand.expovariate(1 / 4.0))

    def create(self, name: str) -> None:
        if (kinds.LLM_DEPLOYMENT, "team", name) in self.api.objects:
            return
        body = {
            "apiVersion": kinds.LLM_DEPLOYMENT.api_version,
            "kind": "LLMDeployment",
            "metadata": {"name": name, "namespace": "team"},
            "spec": self._spec(),
        }
        self.api.create(body, "user")
        if self.rand.random() < 0.4:  # while the operator makes the children
            asyncio.get_running_loop().call_later(self.rand.uniform(0.0, 1.5), self.squat, name)

    def change(self, name: str) -> None:
        self.api.change((kinds.LLM_DEPLOYMENT, "team", name), "user", lambda obj: obj.update(spec=self._spec()))

    def delete(self, name: str) -> None:
        place = (kinds.LLM_DEPLOYMENT, "team", name)
        if place in self.api.objects:
            self.api.delete(place, "user")
            if self.rand.random() < 0.5:
                self.create(name)  # again at once

    def hurt(self, name: str) -> None:
        """Delete a child."""
        if children := children_of(self.api, name):
            self.api.delete(self.rand.choice(children), "vandal")

    def deface(self, name: str) -> None:
        """Change a field that is ours."""
        place = (kinds.SERVICE, "team", name)
        self.api.change(place, "vandal", lambda obj: obj["spec"].update(selector={"app": "stolen"}))

    def squat(self, name: str) -> None:
        """Make an object under the name of a child that does not exist, and take it away later."""
        place = (kinds.SERVICE, "team", name)
        if place in self.api.objects:
            return
        meta = {"name": name, "namespace": "team"}
        spec = {"selector": {"app": "web"}, "type": "ClusterIP"}
        uid = self.api.create({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}, "squatter")
        asyncio.get_running_loop().call_later(self.rand.uniform(1, 30), self._leave, place, uid["metadata"]["uid"])

    def _leave(self, place: Place, uid: str) -> None:
        found = self.api.objects.get(place)
        if found is not None and found["metadata"]["uid"] == uid:
            self.api.delete(place, "squatter")

    def _spec(self) -> Object:
        return {
            "model": {"uri": "hf://org/model"},
            "engine": {"maxModelLen": self.rand.choice((1024, 2048, 4096))},
            "replicas": self.rand.randint(1, 2),
            "service": {"disruptionBudget": {"enabled": self.rand.random() < 0.7}},
        }


def children_of(api: FakeAPI, name: str) -> list[Place]:
    return [
        place
        for place, obj in api.objects.items()
        if place[0] in CHILD_KINDS and any(o["name"] == name for o in obj["metadata"].get("ownerReferences", []))
    ]


def wanted(obj: Object | None) -> set[tuple[str, str]]:
    """(kind, name) of the children of an LLMDeployment; none of a deleted one."""
    if obj is None:
        return set()
    llm = LLMDeployment.parse(obj)
    found = {
        ("ConfigMap", f"{llm.name}-{repository.content_hash(llm)}"),
        ("Service", llm.name),
        ("Service", f"{llm.name}-headless"),
        ("Deployment", llm.name),
    }
    return found | ({("PodDisruptionBudget", llm.name)} if llm.spec.service.disruption_budget.enabled else set())


def wrong(api: FakeAPI) -> list[str]:
    """What is not as the LLMDeployments want it, in words."""
    told = []
    llms = {obj["metadata"]["name"]: obj for obj in api.all(kinds.LLM_DEPLOYMENT)}
    for name in NAMES:
        have = {(place[0].kind, place[2]) for place in children_of(api, name)}
        want = wanted(llms[name]) if name in llms else set()
        told += [f"{name}: {have ^ want}"] if have != want else []
    for name, obj in llms.items():
        conditions = {c["type"]: c for c in obj.get("status", {}).get("conditions", [])}
        generation = obj["metadata"]["generation"]
        if conditions.get("Ready", {}).get("status") != "True" or obj["status"]["observedGeneration"] != generation:
            told.append(f"{name}: generation {generation}, {conditions.get('Ready')}")
        service = api.get(kinds.SERVICE, "team", name)
        if service is not None and "app" in service["spec"]["selector"]:
            told.append(f"{name}: the Service is defaced")
    return told


def wrong_deletes(api: FakeAPI) -> list[Write]:
    """Deletes by the operator of something that its owner, alive then, still wanted or that a pod still mounted.

    Judged by the true state at that version, not by what the operator could know.
    """
    return [write for write in api.writes if write.by == OPERATOR and write.verb == "delete" and _needed(api, write)]


def _needed(api: FakeAPI, write: Write) -> bool:
    assert write.before is not None
    gone = next(change for change in api.history if change.old is write.before and change.new is None)
    owner = write.before["metadata"]["ownerReferences"][0]["uid"]
    owners = _lately(api, owner, gone)
    if None in owners:
        return False  # what a deleted owner leaves behind may go, with its pods
    pods = api.view(kinds.POD, gone.version - 1) if write.place[0] == kinds.CONFIG_MAP else []
    still = all((write.place[0].kind, write.place[2]) in wanted(obj) for obj in owners)
    return still or any(write.place[2] in _mounted(pod) for pod in pods)


def _lately(api: FakeAPI, owner: str, gone: Change) -> list[Object | None]:
    """What an owner was in the seconds before a delete; a deleted owner wants nothing."""
    found: list[Object | None] = []
    for change in api.history:
        lasts = change.version <= gone.version and (change.new or change.old or {})["metadata"]["uid"] == owner
        if lasts and change.at < gone.at - DECISION_S:
            found = [change.new]
        elif lasts:
            found.append(change.new)
    return found or [None]


def _mounted(pod: Object) -> set[str]:
    return {volume["configMap"]["name"] for volume in pod["spec"]["volumes"] if "configMap" in volume}


def stolen(api: FakeAPI) -> list[Write]:
    """Writes by the operator to an object that another manager had created."""
    ours = [write for write in api.writes if write.by == OPERATOR and write.place[0] in CHILD_KINDS and write.before]
    return [write for write in ours if not (write.before or {})["metadata"].get("ownerReferences")]


async def live(seed: int) -> World:
    """Bad streams and changes by users, then good streams and no changes; the end state."""
    made = World.of(seed)
    rand = random.Random(seed + 1)
    kopf: Any = FakeKopf(made.api, made.chaos, made.manager.audit.seen)
    made.manager.watch = kopf
    loops: list[Coroutine[Any, Any, None]] = [
        *made.manager.loops(), kopf.run(), Controllers(made.api, rand).run()
    ]  # fmt: skip
    tasks = [asyncio.ensure_future(loop) for loop in loops]
    await Person(made.api, rand).work(BAD_S)
    made.chaos.calm()
    await asyncio.sleep(CURED_S)
    for told in (wrong(made.api), wrong_deletes(made.api), stolen(made.api)):
        assert told == [], told
    await no_more_writes(made)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return made


async def no_more_writes(made: World) -> None:
    """With nothing to do nothing is written, and the requests are those of the watches alone."""
    before, requests = len(made.api.writes), made.transport.requests
    await asyncio.sleep(QUIET_S)
    assert made.api.writes[before:] == []
    assert made.transport.requests - requests < QUIET_S, "less than one request per second"


@pytest.mark.parametrize("seed", range(SHORT))
def test_bad_watches_lose_nothing_and_delete_nothing_that_is_wanted(seed: int) -> None:
    clock.run(live(seed))
