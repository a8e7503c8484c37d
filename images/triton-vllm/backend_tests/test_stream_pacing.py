"""How the deltas of a stream are merged."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from backend.triton.stream_pacing import RESPONSES_PER_CORE, RESPONSES_PER_PROCESS, StreamPacer, responses_per_second

ONE = 1 / RESPONSES_PER_CORE


@dataclass
class Delta:
    """A stand-in for vLLM's RequestOutput."""

    text: str
    finished: bool = False

    def add(self, other: Delta, aggregate: bool) -> None:
        assert aggregate
        self.text += other.text
        self.finished |= other.finished


class Clock:
    """The time in distances of a lone stream on one core."""

    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> float:
        return self.at * ONE

    async def tokens(self, *times: float, end: bool = True) -> AsyncIterator[Delta]:
        """Tokens a, b, c, ... at these times; the last one ends the request."""
        for number, self.at in enumerate(times):
            yield Delta(chr(ord("a") + number), finished=end and number == len(times) - 1)


def sent(*times: float, threads: int = 1) -> list[str]:
    async def run() -> list[str]:
        clock = Clock()
        return [piece.text async for piece in StreamPacer(threads, clock.now).keep(clock.tokens(*times))]

    return asyncio.run(run())


def test_responses_keep_their_distance() -> None:
    assert sent(0, 1.1, 2.2, 3.3) == ["a", "b", "c", "d"]
    assert sent(0, 0.6, 1.2, 1.8, 2.4, 3) == ["a", "bc", "de", "f"]
    assert sent(0, 0.1, 20, 20.1, 20.2) == ["a", "bc", "de"]


@pytest.mark.parametrize(
    ("threads", "expected"),
    [(1, RESPONSES_PER_CORE), (4, 4 * RESPONSES_PER_CORE), (12, RESPONSES_PER_PROCESS), (32, RESPONSES_PER_PROCESS)],
)
def test_responses_are_made_by_one_process_however_many_cores_there_are(threads: int, expected: int) -> None:
    assert responses_per_second(threads) == expected


def test_the_first_and_the_last_wait_for_nothing() -> None:
    assert sent(0, 0.1, 0.2, 0.3) == ["a", "bcd"]
    assert sent(0) == ["a"]


def test_more_cores_take_more_responses() -> None:
    assert sent(0, 0.6, 1.2, 1.8, threads=2) == ["a", "b", "c", "d"]


@pytest.mark.parametrize(("others", "pieces"), [(0, ["a", "b", "c", "d"]), (1, ["a", "bc", "d"]), (3, ["a", "bcd"])])
def test_more_streams_keep_a_larger_distance(others: int, pieces: list[str]) -> None:
    async def run() -> list[str]:
        clock = Clock()
        pace = StreamPacer(1, clock.now)
        waiting = [pace.keep(clock.tokens(0, end=False)) for _ in range(9)]  # in the queue: they do not stream yet
        running = [pace.keep(clock.tokens(0, end=False)) for _ in range(others)]
        for one in running:
            await anext(one)
        found = [piece.text async for piece in pace.keep(clock.tokens(0, 1.1, 2.2, 3.3))]
        for one in (*waiting, *running):
            await one.aclose()
        return found

    assert asyncio.run(run()) == pieces


@pytest.mark.parametrize("how", ["ends", "is given up", "fails"])
def test_a_stream_that_is_over_counts_no_more(how: str) -> None:
    clock = Clock()

    async def failing() -> AsyncIterator[Delta]:
        yield Delta("a")
        raise ValueError

    async def run() -> list[str]:
        pace = StreamPacer(1, clock.now)
        other = pace.keep(failing() if how == "fails" else clock.tokens(0, 0))
        await anext(other)
        with contextlib.suppress(ValueError):
            await (other.aclose() if how == "is given up" else anext(other))
            await anext(other, None)
        return [piece.text async for piece in pace.keep(clock.tokens(0, 1.1, 2.2))]

    assert asyncio.run(run()) == ["a", "b", "c"]
