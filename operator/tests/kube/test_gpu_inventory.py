"""The nodes with their GPUs, and who holds those: page by page, as far as it may be listed."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.builders.dra import device, slice_
from tests.builders.gpus import node, pod
from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.kinds import Kind
from triton_vllm_operator.capacity import allocatable_gpus
from triton_vllm_operator.kube.client import Page
from triton_vllm_operator.kube.errors import Expired, Forbidden, KubeError, NotFound, Retry
from triton_vllm_operator.kube.gpu_inventory import Held, held, nodes


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

    async def list_all(self, _: Kind) -> list[Any]:
        return [node("a", 0)]

    async def pages(self, kind: Kind, *, field_selector: str) -> AsyncIterator[Page]:
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
