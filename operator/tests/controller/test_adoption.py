"""Children outlive their LLMDeployment: the next one of the same name takes them over as they are."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fake.api import Refused
from tests.fake.world import World, served
from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.conditions import find
from triton_vllm_operator.api.kinds import Key, Object
from triton_vllm_operator.desired.children import CHILD_KINDS
from triton_vllm_operator.kube.errors import Conflict, KubeError

KEY = Key("team", "a")
SPEC = {"model": {"uri": "hf://org/model"}, "server": {"image": "nvcr.io/nvidia/tritonserver:26.06-vllm-python-py3"}}
PLACE = (kinds.LLM_DEPLOYMENT, *KEY)


def children(world: World) -> list[Object]:
    return [obj for kind in CHILD_KINDS for obj in world.api.all(kind)]


def identities(world: World) -> set[tuple[str, str, int]]:
    """Uid, name and generation of each child: a deleted one comes back with another uid."""
    meta = [child["metadata"] for child in children(world)]
    return {(one["uid"], one["name"], one["generation"]) for one in meta}


def edit(world: World, obj: Object, **metadata: Any) -> None:
    place = (kinds.kind_of(obj), *KEY[:1], obj["metadata"]["name"])
    world.api.change(place, "user", lambda live: live["metadata"].update(metadata))
    world.manager.cluster.note(world.api.objects[place])


def replaced(world: World, spec: Object = SPEC, *, refs: bool = False) -> None:
    """The LLMDeployment is deleted and made again; its children keep the references, or have none."""
    for child in children(world):
        if not refs:
            edit(world, child, ownerReferences=[])
    world.api.delete(PLACE, "user")
    kind = kinds.LLM_DEPLOYMENT
    meta = {"namespace": KEY.namespace, "name": KEY.name}
    world.api.create({"apiVersion": kind.api_version, "kind": kind.kind, "metadata": meta, "spec": spec}, "user")


def owners(world: World) -> set[str]:
    return {ref["uid"] for child in children(world) for ref in child["metadata"]["ownerReferences"]}


async def reconcile(world: World) -> None:
    await world.manager.reconcile(world.manager.cluster, KEY)


@pytest.mark.parametrize("refs", [False, True])
async def test_children_are_adopted_as_they_are(refs: bool) -> None:
    world = await served(SPEC)
    before = identities(world)
    replaced(world, refs=refs)
    await reconcile(world)
    assert identities(world) == before, "none was deleted, and no content has changed"
    assert owners(world) == {world.api.objects[PLACE]["metadata"]["uid"]}
    version = world.api.version
    await reconcile(world)
    assert world.api.version == version, "nothing is left to do"


async def test_another_spec_changes_the_children_and_deletes_none_that_pods_may_mount() -> None:
    world = await served(SPEC)
    deployment = world.api.objects[kinds.DEPLOYMENT, *KEY]
    replaced(world, {**SPEC, "engine": {"maxModelLen": 512}})
    await reconcile(world)
    now = world.api.objects[kinds.DEPLOYMENT, *KEY]
    assert now["metadata"]["uid"] == deployment["metadata"]["uid"]
    assert now["metadata"]["generation"] == deployment["metadata"]["generation"] + 1
    assert len(world.api.all(kinds.CONFIG_MAP)) == 2, "pods of the former configuration still mount theirs"


async def test_children_of_a_rejected_spec_are_adopted_too() -> None:
    world = await served(SPEC)
    before = identities(world)
    replaced(world, {**SPEC, "engine": {"extraArgs": {"no_such_argument": 1}}}, refs=True)
    await reconcile(world)
    assert identities(world) == before
    assert owners(world) == {world.api.objects[PLACE]["metadata"]["uid"]}, "they are not collected"


async def test_each_write_may_be_the_last() -> None:
    for writes in range(1, 20):
        world = await served(SPEC)
        before = identities(world)
        replaced(world, refs=True)
        wanted = len(world.api.writes) + writes
        with pytest.MonkeyPatch.context() as patch:
            store = world.api._store

            def limited(*args: Any, world: World = world, wanted: int = wanted, store: Any = store) -> Object:
                if len(world.api.writes) >= wanted:
                    raise Refused(503, "the operator is killed here")
                found: Object = store(*args)
                return found

            patch.setattr(world.api, "_store", limited)
            try:
                await reconcile(world)
            except KubeError:
                whole = False
            else:
                whole = True
        await reconcile(world)
        assert identities(world) == before
        assert owners(world) == {world.api.objects[PLACE]["metadata"]["uid"]}
        if whole:
            return
    raise AssertionError("too many writes")


async def test_an_object_of_others_is_left_alone_and_named() -> None:
    world = await served(SPEC)
    service = world.api.objects[kinds.SERVICE, *KEY]
    replaced(world)
    theirs = {"apiVersion": "apps.example/v1", "kind": "App", "name": "shop", "uid": "x", "controller": True}
    edit(world, service, ownerReferences=[theirs])
    await reconcile(world)
    conditions = world.api.objects[PLACE]["status"]["conditions"]
    ready = find(conditions, "Ready")
    assert ready is not None
    assert (ready["reason"], "belongs to App shop" in ready["message"]) == ("NameTaken", True)
    assert world.api.objects[kinds.SERVICE, *KEY]["metadata"]["ownerReferences"] == [theirs]


async def test_an_object_of_a_user_with_the_label_of_the_pods_is_left_alone() -> None:
    world = await served(SPEC)
    meta = {"namespace": "team", "name": "mine", "labels": {"serving.triton-vllm.dev/llmdeployment": "a"}}
    mine = world.api.create({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {}}, "user")
    world.manager.cluster.note(mine)
    await reconcile(world)
    assert world.api.get(kinds.SERVICE, "team", "mine") == mine


async def test_a_child_that_is_being_deleted_is_waited_for() -> None:
    world = await served(SPEC)
    service = world.api.objects[kinds.SERVICE, *KEY]
    replaced(world)
    edit(world, service, deletionTimestamp="2026-01-01T00:00:00Z")
    await reconcile(world)
    conditions = world.api.objects[PLACE]["status"]["conditions"]
    ready, stalled = find(conditions, "Ready"), find(conditions, "Stalled")
    assert ready is not None
    assert stalled is not None
    assert (ready["reason"], stalled["status"]) == ("Creating", "False")


async def test_an_owner_that_is_deleted_meanwhile_adopts_nothing() -> None:
    """Its garbage collection would take the children with it."""
    world = await served(SPEC)
    replaced(world)
    cluster, client = world.manager.cluster, world.manager.cluster.client
    find_now = client.find
    asked = []

    async def find_later(*args: Any) -> Object | None:
        found = await find_now(*args)
        asked.append(found)
        if len(asked) == 1:
            world.api.change(PLACE, "user", lambda live: live["metadata"].update(deletionTimestamp="t"))
        return found

    client.find = find_later  # type: ignore[method-assign, assignment]
    with pytest.raises(Conflict):
        await world.manager.reconcile(cluster, KEY)
    assert all(not child["metadata"]["ownerReferences"] for child in children(world))
