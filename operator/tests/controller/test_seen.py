"""What one process remembers between reviews and reconciles: nodes for seconds, shapes of models for longer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.builders.deployments import llm
from tests.fake import clock
from tests.inspect.files import shape as tiny
from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.kinds import Kind, Object
from triton_vllm_operator.controller import shape_cache, ttl_cache
from triton_vllm_operator.controller.shape_cache import ShapeCache
from triton_vllm_operator.controller.ttl_cache import TTLCache
from triton_vllm_operator.kube.client import Page
from triton_vllm_operator.kube.errors import Retry
from triton_vllm_operator.plan.inspection_protocol import InspectedModel


@dataclass
class Lists:
    """Counts lists; each takes a second. `fail`: the next ones fail."""

    count: int = 0
    fail: bool = False
    names: list[str] = field(default_factory=lambda: ["a"])

    @property
    def client(self) -> Lists:
        return self

    async def pages(self, kind: Kind, **_: Any) -> AsyncIterator[Page]:
        found = [{"metadata": {"name": name}} for name in self.names] if kind == kinds.NODE else []
        if kind == kinds.NODE:
            self.count += 1
            await asyncio.sleep(1)
            if self.fail:
                raise Retry("no answer")
        yield Page(found, "1")


async def after(seconds: float, seen: TTLCache[list[Object]], api: Any) -> tuple[float, int]:
    """Seconds that a question after a pause waits, and how many nodes the answer has."""
    await asyncio.sleep(seconds)
    began = asyncio.get_running_loop().time()
    found = await seen.get(api)
    return asyncio.get_running_loop().time() - began, len(found)


def test_many_questions_share_one_list_and_nobody_waits_while_many_ask() -> None:
    async def ask() -> None:
        api, seen = Lists(), ttl_cache.nodes()
        both = await asyncio.gather(after(0, seen, api), after(0.5, seen, api))
        assert [*both, api.count] == [(1.0, 1), (0.5, 1), 1]
        api.names.append("b")
        assert await after(ttl_cache.AHEAD_S - 2, seen, api) == (0, 1)
        assert (await after(2, seen, api), api.count) == ((0, 1), 1)
        assert await after(2, seen, api) == (0, 2), "the next list was made meanwhile"
        assert await after(ttl_cache.NODES_KEPT_S, seen, api) == (1, 2)

    clock.run(ask())


def test_a_list_that_fails_is_told_to_who_waits_and_tried_again() -> None:
    async def ask() -> None:
        api, seen = Lists(fail=True), ttl_cache.nodes()
        with pytest.raises(Retry):
            await seen.get(api)  # type: ignore[arg-type]
        api.fail = False
        assert await after(0, seen, api) == (1, 1)

    clock.run(ask())


def test_shapes_are_found_by_namespace_uri_and_revision_and_the_oldest_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shape_cache, "MAXIMUM", 2)
    seen, read = ShapeCache(), InspectedModel("c" * 40, tiny())
    every = [llm(model={"uri": f"hf://org/{name}"}) for name in "abc"]
    for one in every:
        seen.remember(one, read)
    assert [seen.find(one) == read for one in every] == [False, True, True]
    assert seen.find(every[1].model_copy(update={"namespace": "other"})) is None
    assert seen.find(llm(model={"uri": "hf://org/c@main"})) is None
