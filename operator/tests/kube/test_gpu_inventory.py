"""The nodes with their GPUs, and who holds those: page by page, as far as it may be listed."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.builders.deployments import H100, llm
from tests.builders.deployments import node as card_node
from tests.builders.dra import device, slice_
from tests.builders.gpus import node, pod
from tests.fake import clock
from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.kinds import Kind
from triton_vllm_operator.capacity import allocatable_gpus, gpu_classes
from triton_vllm_operator.kube.client import Page
from triton_vllm_operator.kube.errors import Expired, Forbidden, KubeError, NotFound, Retry
from triton_vllm_operator.kube.gpu_inventory import Held, held, nodes, trimmed
from triton_vllm_operator.plan.gpu_selection import select_gpu_classes


@dataclass
class Lists:
    """Pages of pods by namespace; an error comes after the pages before it."""

    pages_of: dict[str | None, list[list[Any] | KubeError]]
    selectors: list[tuple[str, str]] = field(default_factory=list)

    async def pages(
        self, _: Kind, namespace: str | None, *, label_selector: str, field_selector: str
    ) -> AsyncIterator[Page]:
        self.selectors.append((label_selector, field_selector))
        for page in self.pages_of[namespace]:
            if isinstance(page, KubeError):
                raise page
            yield Page(page, "1")


def listed(api: Lists, *scopes: str | None) -> Held:
    return asyncio.run(held(api, scopes, "!ours"))  # type: ignore[arg-type]


@dataclass
class Nodes:
    """One bare node, and pages of ResourceSlices or an error."""

    slices: list[list[Any]] | KubeError
    asked: list[tuple[Kind, str]] = field(default_factory=list)

    async def pages(self, kind: Kind, *, field_selector: str = "") -> AsyncIterator[Page]:
        if kind == kinds.NODE:
            yield Page([node("a", 0)], "1")
            return
        self.asked.append((kind, field_selector))
        if isinstance(self.slices, KubeError):
            raise self.slices
        for page in self.slices:
            yield Page(page, "1")


def offered(api: Nodes) -> int:
    [found] = asyncio.run(nodes(api))  # type: ignore[arg-type]
    return allocatable_gpus(found)


def test_nodes_come_with_the_gpus_that_they_publish() -> None:
    api = Nodes([[slice_(device("0")), slice_(device(), driver="other")], [slice_(device("1"))]])
    assert offered(api) == 2
    assert api.asked == [(kinds.RESOURCE_SLICE, "spec.driver=gpu.nvidia.com")]


@pytest.mark.parametrize("error", [NotFound("not served"), Forbidden("no")])
def test_slices_that_are_not_served_or_forbidden_say_nothing(error: KubeError) -> None:
    assert offered(Nodes(error)) == 0


def large(name: str, gpus: int) -> dict[str, Any]:
    """A node as a cluster has it, of 24 kB."""
    made = card_node(H100, gpus, name, driver="570.1.2", **{f"node.example__feature-{n}": "true" for n in range(40)})
    made["metadata"]["annotations"] = {f"example.com/{n}": f"{name}-{n}" * 8 for n in range(40)}
    made["status"]["images"] = [{"names": [f"registry.example/{name}/image-{n}"], "sizeBytes": n} for n in range(200)]
    made["status"]["allocatable"] |= {"cpu": "64", "memory": "512Gi"}
    return made


def test_of_a_node_is_kept_what_a_plan_uses() -> None:
    several = [large("a", 8), large("b", 4), large("c", 0)]
    kept = [trimmed(one) for one in several]
    assert [gpu_classes([one]) for one in kept] == [gpu_classes([one]) for one in several]
    for scheduling in ({}, {"nodeSelector": {"node.example/feature-1": "true"}}, {"nodeSelector": {"zone": "a"}}):
        deployment = llm(scheduling=scheduling)
        assert select_gpu_classes(deployment, kept) == select_gpu_classes(deployment, several)


def test_labels_of_a_node_whose_gpus_are_published_only_are_kept() -> None:
    bare = large("a", 0)
    bare["status"]["allocatable"] = {"cpu": "64"}
    assert trimmed(bare)["metadata"]["labels"] == {}
    assert trimmed(bare, {"a"})["metadata"]["labels"] == bare["metadata"]["labels"]


def test_memory_does_not_grow_with_the_size_of_the_nodes() -> None:
    tracemalloc.start()
    try:
        kept = [trimmed(json.loads(json.dumps(large(f"node-{n}", 8)))) for n in range(500)]
        assert tracemalloc.get_traced_memory()[0] / len(kept) < 4096
    finally:
        tracemalloc.stop()


def test_a_list_of_slices_that_fails_is_tried_again() -> None:
    with pytest.raises(Retry):
        offered(Nodes(Retry("no answer")))


def test_the_pages_of_the_whole_cluster_are_the_whole_answer() -> None:
    api = Lists({None: [[pod("a", "n", 1), pod("none", "n", 0)], [pod("b", "n", 2)]]})
    found = listed(api, None)
    assert [(one.pod, one.gpus) for one in found.pods] == [("a", 1), ("b", 2)]
    assert found.complete
    assert api.selectors == [("!ours", "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed")]


def test_some_namespaces_are_never_all() -> None:
    found = listed(Lists({"x": [[pod("a", "n", 1)]], "y": [[pod("b", "n", 1)]]}), "x", "y")
    assert ([one.pod for one in found.pods], found.complete) == (["a", "b"], False)


@pytest.mark.parametrize("error", [Forbidden("no"), Expired("the pages took too long")])
def test_what_cannot_be_listed_is_left_out_and_the_answer_is_not_complete(error: KubeError) -> None:
    assert listed(Lists({None: [error]}), None) == Held((), complete=False)
    cut = listed(Lists({None: [[pod("a", "n", 1)], error]}), None)
    assert ([one.pod for one in cut.pods], cut.complete) == (["a"], False)
    beside = listed(Lists({"x": [error], "y": [[pod("b", "n", 1)]]}), "x", "y")
    assert [one.pod for one in beside.pods] == ["b"]


def test_ten_thousand_pods_leave_little_behind() -> None:
    class Many(Lists):
        async def pages(self, *_: Any, **__: Any) -> AsyncIterator[Page]:
            for number in range(100):
                yield Page([{**pod(f"p-{number}-{one}", f"n{one}", 1), "rest": "x" * 5000} for one in range(100)], "1")

    tracemalloc.start()
    try:
        found = listed(Many({}), None)
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found.pods) == 10_000
    assert kept < 6 * 2**20
    assert most < 12 * 2**20


def test_a_slow_namespace_does_not_delay_the_others() -> None:
    """Ten namespaces, of which one never answers: what the others hold is known, and soon."""

    @dataclass
    class Slow(Lists):
        began: dict[str | None, float] = field(default_factory=dict)

        async def pages(
            self, kind: Kind, namespace: str | None, *, label_selector: str, field_selector: str
        ) -> AsyncIterator[Page]:
            self.began[namespace] = asyncio.get_running_loop().time()
            await asyncio.sleep(3600.0 if namespace == "0" else 1.0)
            async for page in super().pages(
                kind, namespace, label_selector=label_selector, field_selector=field_selector
            ):
                yield page

    names = [str(number) for number in range(10)]
    api = Slow({name: [[pod(f"p{name}", "n", 1)]] for name in names})
    found = clock.run(held(api, names))  # type: ignore[arg-type]
    assert len(found.pods) == 9
    assert not found.complete
    assert max(api.began.values()) < 3.0
