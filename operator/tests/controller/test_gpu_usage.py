"""A pod that waits for GPUs: who holds them is listed on demand, once for all, and reported in the status."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.builders.deployments import T4, llm, node
from tests.fake import clock
from tests.fake.world import World, served
from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.conditions import find
from triton_vllm_operator.api.kinds import Key, Kind, Object
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.controller import gpu_usage, ttl_cache
from triton_vllm_operator.controller.gpu_usage import GPUUsage
from triton_vllm_operator.kube.client import Client, Page
from triton_vllm_operator.kube.errors import Forbidden
from triton_vllm_operator.observed.gpu_shortage import GPUUse
from triton_vllm_operator.plan.gpu_use import gpu_use

LACKING = {
    "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
    "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
}  # fmt: skip


def foreign(gpus: int, namespace: str = "batch") -> Object:
    container = {"resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}
    spec = {"nodeName": "n", "priority": -1, "containers": [container]}
    meta = {"name": f"train-{gpus}", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec, "status": {"phase": "Running"}}


async def waiting(gpus: int = 3) -> World:
    """A world with a node of four GPUs, a foreign pod on it, and LLMDeployment `a` whose pod finds none."""
    world = await served({"model": {"uri": "hf://org/model"}, "engine": {"tensorParallelSize": 2}})
    world.api.create({"apiVersion": "v1", "kind": "Node", **node(T4, gpus=4)}, "cluster")
    world.api.create(foreign(gpus), "user")
    labels = {"serving.triton-vllm.dev/llmdeployment": "a"}
    [owner] = world.api.all(kinds.DEPLOYMENT)
    meta = {
        "name": "a-1", "namespace": "team", "labels": labels,
        "ownerReferences": [{"uid": owner["metadata"]["uid"]}],
    }  # fmt: skip
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {}, "status": {"conditions": [LACKING]}}
    world.manager.cluster.stores[kinds.POD].put(world.api.create(pod, "cluster"))
    world.manager.cluster.stores[kinds.DEPLOYMENT].put(owner)
    return world


async def told(world: World) -> str:
    """The message of Ready after another reconcile."""
    await world.manager.reconcile(world.manager.cluster, Key("team", "a"))
    status = (world.api.get(kinds.LLM_DEPLOYMENT, "team", "a") or {})["status"]
    ready = find(status["conditions"], "Ready") or {}
    assert ready["reason"] == "InsufficientGPUs"
    return str(ready["message"])


def lists_of_pods(world: World, monkeypatch: pytest.MonkeyPatch, *, forbidden: bool = False) -> list[str | None]:
    """The namespaces of which pods are listed from now on; None is all."""
    seen: list[str | None] = []
    real = Client.pages

    async def pages(self: Client, kind: kinds.Kind, namespace: str | None = None, **more: Any) -> Any:
        if kind == kinds.POD:
            seen.append(namespace)
            if forbidden:
                raise Forbidden("pods is forbidden")
        async for page in real(self, kind, namespace, **more):
            yield page

    monkeypatch.setattr(Client, "pages", pages)
    return seen


def test_a_pod_that_is_none_of_ours_is_told_as_the_holder() -> None:
    async def run() -> None:
        message = await told(await waiting())
        assert "Of 4 Tesla-T4, 1 is free; held by pod batch/train-3 3 (priority -1)." in message
        assert "Pods of a lower priority hold enough of them" in message

    clock.run(run())


def test_pods_are_listed_once_for_all_who_ask_within_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        world = await waiting()
        seen = lists_of_pods(world, monkeypatch)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await told(world)
        world.api.create(foreign(1), "user")
        assert "train-1" not in await told(world)
        assert seen == [None]
        await asyncio.sleep(began + ttl_cache.HELD_KEPT_S + 1 - loop.time())
        assert "pod batch/train-1 1" in await told(world)
        assert seen == [None, None]

    clock.run(run())


def test_pods_of_llmdeployments_are_watched_and_told_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        world = await waiting()
        seen = lists_of_pods(world, monkeypatch)
        await told(world)
        ours = foreign(1)
        ours["metadata"] |= {"labels": {"serving.triton-vllm.dev/llmdeployment": "chat"}, "uid": "c"}
        world.manager.cluster.stores[kinds.POD].put(world.api.create(ours, "cluster"))
        await asyncio.sleep(ttl_cache.OWN_KEPT_S)
        message = await told(world)
        assert "none is free; held by pod batch/train-3 3 (priority -1), LLMDeployment batch/chat 1" in message
        assert seen == [None]
        await asyncio.sleep(ttl_cache.HELD_KEPT_S)
        assert "LLMDeployment batch/chat 1 (priority -1)." in await told(world), "it is not counted twice"

    clock.run(run())


def test_nothing_is_listed_while_no_pod_waits_for_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        world = await served({"model": {"uri": "hf://org/model"}})
        seen = lists_of_pods(world, monkeypatch)
        await world.manager.reconcile(world.manager.cluster, Key("team", "a"))
        assert seen == []

    clock.run(run())


def test_an_operator_of_some_namespaces_lists_those_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        world = await waiting()
        world.manager.cluster.scopes = ("team", "other")
        seen = lists_of_pods(world, monkeypatch)
        message = await told(world)
        assert seen == ["team", "other"]
        assert "pods of other namespaces may hold some of them" in message

    clock.run(run())


def test_pods_that_may_not_be_listed_are_not_asked_for_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        world = await waiting()
        seen = lists_of_pods(world, monkeypatch, forbidden=True)
        assert "at most 4 are free" in await told(world)
        await told(world)
        assert seen == [None]

    clock.run(run())


def test_nodes_that_may_not_be_listed_leave_the_scheduler_s_words(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        world = await waiting()

        pages = world.manager.cluster.client.pages

        def forbidden(kind: Kind, *more: Any, **query: Any) -> AsyncIterator[Page]:
            if kind == kinds.NODE:
                raise Forbidden("nodes is forbidden")
            return pages(kind, *more, **query)

        monkeypatch.setattr(world.manager.cluster.client, "pages", forbidden)
        message = await told(world)
        assert message.startswith("Who holds the GPUs is not known: the nodes may not be listed. Scheduler: 0/1")

    clock.run(run())


def test_it_is_worked_out_once_for_all_that_ask_the_same_of_the_same_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    worked: list[str] = []

    def counted(llm: LLMDeployment, *args: Any, **more: Any) -> GPUUse:
        worked.append(llm.name)
        return gpu_use(llm, *args, **more)

    monkeypatch.setattr(gpu_usage, "gpu_use", counted)

    async def run() -> None:
        world = await waiting()
        ours = foreign(1, "team")
        ours["metadata"] |= {"labels": {"serving.triton-vllm.dev/llmdeployment": "holds"}, "uid": "c"}
        world.manager.cluster.stores[kinds.POD].put(world.api.create(ours, "cluster"))
        nodes, seen = [node(T4, gpus=4)], GPUUsage()
        plain = llm(engine={"tensorParallelSize": 2})
        fields: list[Object] = [
            {"engine": {"tensorParallelSize": 1}},
            {"scheduling": {"nodeSelector": {"a": "b"}}},
            {"resources": {"gpu": {"product": T4[0]}}},
            {"resources": {"gpu": {"resourceName": "example.com/gpu"}}},
        ]
        others = [llm(**{"engine": {"tensorParallelSize": 2}, **spec}) for spec in fields]
        others = [one.model_copy(update={"name": f"other-{number}"}) for number, one in enumerate(others)]
        same, own = plain.model_copy(update={"name": "same"}), plain.model_copy(update={"name": "holds"})
        for one in (plain, same, *others, own, plain, own):
            await seen.use(world.manager.cluster, one, nodes)
        assert worked == ["llama", *(one.name for one in others), "holds"]
        await seen.use(world.manager.cluster, same, list(nodes))
        assert worked[-1] == "same", "of another list it is worked out again"
        await asyncio.sleep(ttl_cache.OWN_KEPT_S)
        await seen.use(world.manager.cluster, plain, nodes)
        assert worked[-1] == "llama"

    clock.run(run())
