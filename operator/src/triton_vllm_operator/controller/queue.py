"""client-go's workqueue with deduplication: one worker per key, bounded concurrency, backoff with jitter, resync.

A key that is added while it waits is one entry; a key that is added while it is worked on is worked on once more
afterwards. So no event is lost, and no key is worked on twice at a time. Keys whose last try failed or was slow have a
line and half of the workers of their own: whatever is wrong with them, the others find a worker. All times are seconds
of the event loop's clock, so tests run it on a loop with their own clock.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from triton_vllm_operator.backoff import Backoff, with_jitter
from triton_vllm_operator.kube.errors import NotLeader, Retry, Terminal

log = logging.getLogger(__name__)

SLOW_S = 5.0  # a try that takes longer counts as slow: a request to a healthy API server takes milliseconds
EVENT_RETRY_S = 1.0  # longest delay after a failed try during which an event came

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one reconcile. `reason`: for metrics and the log line.

    `after`: seconds until the next reconcile, without an event (None: at the next resync). `gone`: the object does not
    exist any more, and its key is dropped.
    """

    reason: str = "Done"
    after: float | None = None
    gone: bool = False


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """`first_s` doubles with every failure in a row up to `longest_s`; each wait is spread by +-20 %."""

    workers: int = 32
    first_s: float = 0.5
    longest_s: float = 30.0  # so long after the end of an API outage of any length every key has been tried
    resync_s: float = 300.0
    stuck_s: float = 120.0  # a reconcile that takes longer is cancelled and tried again


class Observer(Protocol):
    """Receives measurements, for the metrics."""

    def waited(self, seconds: float) -> None: ...
    def worked(self, seconds: float, result: str, reason: str) -> None: ...


class Silent:
    """For a queue without metrics."""

    def waited(self, seconds: float) -> None:
        """Ignored."""

    def worked(self, seconds: float, result: str, reason: str) -> None:
        """Ignored."""


@dataclass(slots=True)
class _State:
    failures: int = 0
    slow: bool = False
    timer: asyncio.TimerHandle | None = None


@dataclass
class KeyedQueue(Generic[K]):
    """Keys wait here; `run` works on them."""

    settings: QueueSettings = field(default_factory=QueueSettings)
    rand: random.Random = field(default_factory=random.Random)
    observer: Observer = field(default_factory=Silent)
    _waiting: OrderedDict[K, float] = field(default_factory=OrderedDict)  # key -> when it was added
    _troubled: OrderedDict[K, float] = field(default_factory=OrderedDict)  # the same of keys that failed or are slow
    _troubled_working: set[K] = field(default_factory=set)
    _working: dict[K, float] = field(default_factory=dict)  # key -> when work began
    _again: dict[K, float] = field(default_factory=dict)  # added while worked on
    _states: dict[K, _State] = field(default_factory=dict)
    _work: Callable[[K], Awaitable[Result]] | None = None  # set while `run` may start more
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self._waiting) + len(self._troubled) + len(self._again)

    @property
    def keys(self) -> set[K]:
        """Every known key: waiting, worked on or scheduled."""
        return {*self._waiting, *self._troubled, *self._working, *self._states}

    @property
    def busy(self) -> bool:
        return bool(self._waiting or self._troubled or self._working)

    def oldest_work(self) -> float:
        """Seconds since the longest-running piece of work began; 0 when there is none."""
        return max((self._now() - since for since in self._working.values()), default=0.0)

    def longest_wait(self) -> float:
        """Seconds that the first key has waited of those that neither failed nor are slow; 0 when none waits."""
        return self._now() - next(iter(self._waiting.values())) if self._waiting else 0.0

    def add(self, key: K) -> None:
        """Work on the key soon; a pending delay of it is cut short."""
        self._stop_timer(key)
        if key in self._working:
            self._again.setdefault(key, self._now())
        else:
            self._line(key).setdefault(key, self._now())
            self._start_some()

    def add_after(self, key: K, seconds: float) -> None:
        """Work on the key in `seconds`, or sooner when it is added in between."""
        if key in self._waiting or key in self._troubled or key in self._again:
            return
        state = self._states.setdefault(key, _State())
        if state.timer is not None:
            state.timer.cancel()
        state.timer = asyncio.get_running_loop().call_later(seconds, self.add, key)

    def forget(self, key: K) -> None:
        """Drop the state of a key whose object does not exist any more."""
        self._stop_timer(key)
        self._states.pop(key, None)

    def close(self) -> None:
        """Start no more work; running work may finish."""
        self._work = None

    async def drained(self, seconds: float) -> None:
        """Wait until no work is running, for a maximum of `seconds`."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    async def run(self, work: Callable[[K], Awaitable[Result]]) -> None:
        """Work until cancelled. Cancelling stops running work; its keys stay in the queue."""
        self._work = work
        try:
            self._start_some()
            await asyncio.get_running_loop().create_future()
        finally:
            self._work = None
            await _cancel(self._tasks)
            self._put_back()

    def _start_some(self) -> None:
        while self._work is not None and len(self._working) < self.settings.workers and (line := self._next_line()):
            task = asyncio.create_task(self._work_on(self._take(line), self._work))
            self._tasks.add(task)
            task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._start_some()

    def _line(self, key: K) -> OrderedDict[K, float]:
        """Where a key waits. One that waits already stays where it is."""
        state = self._states.get(key)
        troubled = state is not None and (state.failures > 0 or state.slow)
        return self._troubled if key in self._troubled or (troubled and key not in self._waiting) else self._waiting

    def _next_line(self) -> OrderedDict[K, float] | None:
        """The line whose first key has waited for the longest time; None where no key may be worked on."""
        has_room = len(self._troubled_working) < max(self.settings.workers // 2, 1)
        lines = [line for line in (self._waiting, self._troubled if has_room else None) if line]
        return min(lines, key=lambda line: next(iter(line.values())), default=None)

    def _take(self, line: OrderedDict[K, float]) -> K:
        key, since = line.popitem(last=False)
        self._working[key] = self._now()
        if line is self._troubled:
            self._troubled_working.add(key)
        self.observer.waited(self._now() - since)
        return key

    def _put_back(self) -> None:
        for key in (*self._working, *self._again):
            self._line(key).setdefault(key, self._now())
        self._working.clear()
        self._troubled_working.clear()
        self._again.clear()

    async def _work_on(self, key: K, work: Callable[[K], Awaitable[Result]]) -> None:
        """One piece of work. Whatever its result, the key is scheduled again."""
        began = self._now()
        try:
            async with asyncio.timeout(self.settings.stuck_s):
                result = await work(key)
            self._succeed(key, result)
            outcome = ("success", result.reason)
        except NotLeader:
            self.add_after(key, self.settings.first_s)
            outcome = ("stopped", "NotLeader")
        except Retry as error:
            self._fail(key, error.after, f"{error}")
            outcome = ("retry", type(error).__name__)
        except Terminal as error:
            self._fail(key, self.settings.longest_s, f"{error}")
            outcome = ("terminal", type(error).__name__)
        except TimeoutError:
            self._fail(key, None, f"timed out after {self.settings.stuck_s:.0f} s")
            outcome = ("retry", "Timeout")
        except Exception as error:
            first = self._states.setdefault(key, _State()).failures == 0
            log.error("%s: internal error; please report it", key, exc_info=first)
            self._fail(key, None, f"{type(error).__name__}: {error}")
            outcome = ("defect", "Exception")
        seconds = self._now() - began
        self.observer.worked(seconds, *outcome)
        del self._working[key]
        self._troubled_working.discard(key)
        if key in self._states:
            self._states[key].slow = seconds > SLOW_S
        if key in self._again:
            self._line(key).setdefault(key, self._again.pop(key))

    def _succeed(self, key: K, result: Result) -> None:
        if result.gone:
            self.forget(key)
            return
        self._states.setdefault(key, _State()).failures = 0
        self.add_after(key, self._spread(self.settings.resync_s) if result.after is None else result.after)

    def _fail(self, key: K, after: float | None, why: str) -> None:
        state = self._states.setdefault(key, _State())
        backoff = Backoff(self.settings.first_s, self.settings.longest_s).delay_s(state.failures)
        state.failures += 1
        seconds = self._spread(max(backoff, after or 0.0))
        if self._again.pop(key, None) is not None:
            # An event during the failed try may be the fix: try soon, but a hot key that fails must not spin.
            seconds = min(seconds, EVENT_RETRY_S)
        log.warning("%s: %s; try %d, again in %.1f s", key, why, state.failures, seconds)
        self.add_after(key, seconds)

    def _spread(self, seconds: float) -> float:
        return with_jitter(seconds, self.rand)

    def _stop_timer(self, key: K) -> None:
        state = self._states.get(key)
        if state is not None and state.timer is not None:
            state.timer.cancel()
            state.timer = None

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


async def _cancel(tasks: set[asyncio.Task[None]]) -> None:
    for task in tuple(tasks):
        task.cancel()
    if tasks:
        await asyncio.wait(tuple(tasks))
