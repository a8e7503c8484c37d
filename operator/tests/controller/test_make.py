"""A child that is not known yet is made, and what has its name already is looked at before it is written."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fake.api import Refused
from tests.fake.world import World, served
from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.conditions import find
from triton_vllm_operator.api.kinds import Key, Object
from triton_vllm_operator.kube.errors import Conflict

PLACE = (kinds.SERVICE, "team", "a")
SPEC = {"model": {"uri": "hf://org/model"}}


def service(**more: Any) -> Object:
    meta = {"name": "a", "namespace": "team"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, **more}


async def again(world: World) -> None:
    await world.manager.reconcile(world.manager.cluster, Key("team", "a"))


def ready(world: World) -> tuple[str, str]:
    found = find(world.api.objects[kinds.LLM_DEPLOYMENT, "team", "a"]["status"]["conditions"], "Ready") or {}
    return found["reason"], found["message"]


@pytest.fixture
async def world() -> World:
    """Served once, then the Service has gone and the operator has not heard of it."""
    made = await served(SPEC)
    made.api.delete(PLACE, "user")
    store = made.manager.cluster.stores[kinds.SERVICE]
    store.forget("team", "a", store.version_of("team", "a"))
    return made


async def test_what_somebody_else_made_meanwhile_keeps_all_its_fields_and_gets_none(world: World) -> None:
    before = world.api.create(service(data={"of": "another"}), "user")
    await again(world)
    assert world.api.objects[PLACE] == before
    reason, message = ready(world)
    assert reason == "NameTaken"
    assert "Service team/a" in message
    assert "another owner" in message


async def test_our_own_child_without_the_label_that_is_watched_is_made_whole(world: World) -> None:
    uid = world.api.objects[kinds.LLM_DEPLOYMENT, "team", "a"]["metadata"]["uid"]
    bare = service()
    bare["metadata"]["ownerReferences"] = [{"kind": "LLMDeployment", "name": "a", "uid": uid, "controller": True}]
    before = world.api.create(bare, "user")["metadata"]["uid"]
    await again(world)
    live = world.api.objects[PLACE]
    assert live["metadata"]["uid"] == before
    assert live["metadata"]["labels"]
    assert live["spec"]["ports"]


async def test_one_that_goes_while_it_is_looked_at_is_made_at_the_next_try(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise Refused(409, "it was there a moment ago")

    with monkeypatch.context() as patched:
        patched.setattr(world.api, "apply", refused)
        with pytest.raises(Conflict):
            await again(world)
    await again(world)
    assert PLACE in world.api.objects
