"""An event loop whose clock jumps to the next appointment instead of waiting for it: an hour of pauses takes no time.

Everything that runs on it must wait through asyncio; threads and sockets would not be waited for.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Stuck(Exception):
    """Nothing is scheduled, and no task can wake another."""


class JumpingSelector(selectors.SelectSelector):
    """Instead of sleeping, adds the time that it was asked to sleep to `now`."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stuck("every task waits for another one")
        self.now += max(timeout, 0.0)
        return []


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop with a clock of its own, which starts at 0."""

    def __init__(self) -> None:
        self.jumping = JumpingSelector()
        super().__init__(self.jumping)

    def time(self) -> float:
        return self.jumping.now


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, run to its end on a clock that jumps; tasks that it leaves are cancelled."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(work)
