"""The queue of keys on a clock that jumps: hours of backoff take no time."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections import Counter

import pytest

from tests.fake import clock
from triton_vllm_operator.controller.queue import KeyedQueue, QueueSettings, Result
from triton_vllm_operator.kube.errors import Retry, Terminal


@pytest.fixture(autouse=True)
def quiet() -> None:
    logging.getLogger("triton_vllm_operator.controller.queue").setLevel(logging.CRITICAL)


def queue_of(**settings: float | int) -> KeyedQueue[str]:
    return KeyedQueue(QueueSettings(**settings), rand=random.Random(1))  # type: ignore[arg-type]


async def running(queue: KeyedQueue[str], work: object, seconds: float) -> None:
    task = asyncio.ensure_future(queue.run(work))  # type: ignore[arg-type]
    await asyncio.sleep(seconds)
    task.cancel()
    await asyncio.wait([task])


def test_retries_of_a_bad_key_back_off_with_jitter_to_a_limit() -> None:
    times: list[float] = []

    async def live() -> None:
        queue = queue_of()

        async def fail(key: str) -> Result:
            times.append(asyncio.get_running_loop().time())
            raise Retry("no")

        queue.add("bad")
        await running(queue, fail, 3600)

    clock.run(live())
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert gaps[:3] == sorted(gaps[:3])
    assert all(24 <= gap <= 36 for gap in gaps[8:])
    assert len({round(gap, 3) for gap in gaps[8:]}) > 10, "they are spread"
    assert len(times) < 3600 / 24 + 10


def test_bad_keys_do_not_slow_good_ones() -> None:
    """A hundred keys that always fail and one hot key: a good key waits no longer than without them."""

    def longest_wait(bad: int) -> float:
        waits: list[float] = []

        async def live() -> None:
            queue = queue_of()

            async def work(key: str) -> Result:
                await asyncio.sleep(0.02)
                if key.startswith("bad"):
                    raise Retry("no")
                waits.append(asyncio.get_running_loop().time() - added[key])
                return Result()

            added: dict[str, float] = {}
            task = asyncio.ensure_future(queue.run(work))
            for number in range(bad):
                queue.add(f"bad-{number}")
            for number in range(200):
                await asyncio.sleep(1.0)
                added[f"good-{number}"] = asyncio.get_running_loop().time()
                queue.add(f"good-{number}")
                queue.add("bad-hot")
            task.cancel()
            await asyncio.wait([task])

        clock.run(live())
        return max(waits)

    assert longest_wait(100) < longest_wait(0) + 0.1


def test_one_key_is_never_worked_on_twice_at_a_time_and_no_event_is_lost() -> None:
    working: Counter[str] = Counter()
    done: Counter[str] = Counter()

    async def live() -> None:
        queue = queue_of()

        async def work(key: str) -> Result:
            working[key] += 1
            assert working[key] == 1
            await asyncio.sleep(1.0)
            working[key] -= 1
            done[key] += 1
            return Result()

        task = asyncio.ensure_future(queue.run(work))
        queue.add("a")
        await asyncio.sleep(0.5)
        for _ in range(10):
            queue.add("a")
        await asyncio.sleep(5)
        task.cancel()
        await asyncio.wait([task])

    clock.run(live())
    assert done["a"] == 2, "once more for ten events"


def test_every_key_is_looked_at_again_at_each_resync() -> None:
    times: list[float] = []

    async def live() -> None:
        queue = queue_of()

        async def work(key: str) -> Result:
            times.append(asyncio.get_running_loop().time())
            return Result()

        queue.add("a")
        await running(queue, work, 3600)

    clock.run(live())
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert all(240 <= gap <= 360 for gap in gaps)


def test_a_stuck_reconcile_is_given_up_and_tried_again() -> None:
    tries: list[float] = []

    async def live() -> None:
        queue = queue_of()

        async def hang(key: str) -> Result:
            tries.append(asyncio.get_running_loop().time())
            if len(tries) == 1:
                await asyncio.Event().wait()
            return Result()

        queue.add("a")
        await running(queue, hang, 200)

    clock.run(live())
    assert len(tries) == 2
    assert 120 < tries[1] < 125


@pytest.mark.parametrize("error", [Terminal("never"), ValueError("a defect")])
def test_what_cannot_work_is_tried_seldom_and_kept(error: Exception) -> None:
    tries = 0

    async def live() -> None:
        queue = queue_of()

        async def fail(key: str) -> Result:
            nonlocal tries
            tries += 1
            raise error

        queue.add("a")
        await running(queue, fail, 600)

    clock.run(live())
    assert 15 <= tries <= 40


@pytest.mark.parametrize(("news", "least", "most"), [(True, 0.8, 1.0), (False, 16.0, 24.0)])
def test_news_during_a_failed_try_shortens_the_wait(news: bool, least: float, most: float) -> None:
    """The news may be the cure: it must not wait out the backoff, which may be minutes."""
    times: list[float] = []

    async def live() -> None:
        queue = queue_of(first_s=20.0)

        async def fail(key: str) -> Result:
            times.append(asyncio.get_running_loop().time())
            await asyncio.sleep(1.0)
            if news and len(times) == 1:
                queue.add("a")
            raise Retry("no")

        queue.add("a")
        await running(queue, fail, 30)

    clock.run(live())
    assert least <= times[1] - times[0] - 1.0 <= most


def test_one_piece_of_news_shortens_one_wait_only() -> None:
    times: list[float] = []

    async def live() -> None:
        queue = queue_of(first_s=20.0)

        async def fail(key: str) -> Result:
            times.append(asyncio.get_running_loop().time())
            await asyncio.sleep(1.0)
            if len(times) == 1:
                queue.add("a")
            raise Retry("no")

        queue.add("a")
        await running(queue, fail, 100)

    clock.run(live())
    assert times[1] - times[0] <= 2.0
    assert times[2] - times[1] >= 24.0, "the second wait is the whole backoff"


@pytest.mark.parametrize("fails", [True, False])
def test_keys_that_hang_leave_workers_for_the_others(fails: bool) -> None:
    """Two hundred keys that take twenty seconds each, and fail or not: a new key never waits for one of them."""
    waits: list[float] = []
    tries: Counter[str] = Counter()

    async def live() -> None:
        queue = queue_of(resync_s=30.0)
        added: dict[str, float] = {}

        async def work(key: str) -> Result:
            tries[key] += 1
            if key.startswith("bad"):
                await asyncio.sleep(20.0)
                if fails:
                    raise Retry("timed out")
            elif key in added:
                waits.append(asyncio.get_running_loop().time() - added.pop(key))
            return Result()

        for number in range(200):
            queue.add(f"bad-{number}")
        task = asyncio.ensure_future(queue.run(work))
        await asyncio.sleep(150.0)  # each has had its first try
        for number in range(100):
            await asyncio.sleep(1.0)
            added[f"good-{number}"] = asyncio.get_running_loop().time()
            queue.add(f"good-{number}")
            queue.add(f"bad-{number}")
            assert queue.longest_wait() < 1.0, "readiness does not count them"
        await asyncio.sleep(600.0)
        task.cancel()
        await asyncio.wait([task])

    clock.run(live())
    assert len(waits) >= 100
    assert max(waits) < 0.5
    assert min(tries[f"bad-{number}"] for number in range(200)) >= 3, "they are tried, too"
