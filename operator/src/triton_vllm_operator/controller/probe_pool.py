"""Requests to pods run here, outside of the reconciles: a pod that cannot be reached holds no worker of the queue."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Coroutine
from typing import Final

from triton_vllm_operator.api.kinds import Key

log = logging.getLogger(__name__)

FIRST: Final = 128
"""Maximum number of first requests to pods at a time."""
AGAIN: Final = 32
"""Maximum number of repeated requests at a time: pods that do not answer delay no pod that is new."""


class ProbePool:
    """Runs requests to pods, a limited number at a time.

    Attributes:
        unanswered: number of pods of each LLMDeployment that are ready and do not answer with a token.
    """

    def __init__(self) -> None:
        self.unanswered: Counter[Key] = Counter()
        self._first, self._again = asyncio.Semaphore(FIRST), asyncio.Semaphore(AGAIN)
        self._tasks: set[asyncio.Task[None]] = set()

    def slot(self, *, again: bool) -> asyncio.Semaphore:
        """The slot of one request; hold it while that lasts. `again`: an earlier request to that pod has failed."""
        return self._again if again else self._first

    def start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run in the background."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def close(self) -> None:
        """Stop every request."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("request to a pod: internal error; please report it", exc_info=error)
