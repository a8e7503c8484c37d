"""Streams that leave the processors to the engine.

A response on its way through Triton costs about 100 microseconds of processor time. Where many streams run on few
cores, the engine would wait for them: so the responses of one stream keep a distance, which grows with the number of
streams, and carry what has come meanwhile. With few streams, or many cores, each token is a response.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

# Of all streams together: with this many, responses take some 5 % of the container's processors.
RESPONSES_PER_CORE = 500
# All of them are made by one process, under one interpreter lock: without the engine's messages, some 10,000 per second
# are all that it can do. With 64 streams of 200 tokens per second each it reaches 2,400 to 2,900, and merges the rest.
RESPONSES_PER_PROCESS = 6000


def responses_per_second(threads: int) -> int:
    """Return the maximum number of responses per second of all streams, in a container with so many threads."""
    return min(RESPONSES_PER_CORE * threads, RESPONSES_PER_PROCESS)


class StreamPacer:
    """The pace of all streams. `threads`: that the container can run at once."""

    def __init__(self, threads: int, now: Callable[[], float] = time.monotonic) -> None:
        # Between two responses of a stream, for each stream that runs.
        self._seconds = 1 / responses_per_second(threads)
        self._now = now
        self._streams = 0

    async def keep(self, outputs: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
        """The deltas of one request (vLLM's RequestOutput), those merged that come too soon after a response.

        The first and the last go at once; no other waits for longer than until the first one after its time.
        """
        held, due, streams = None, float("-inf"), False
        try:
            async for output in outputs:
                if not streams:
                    streams = True
                    self._streams += 1
                if held is None:
                    held = output
                else:
                    held.add(output, aggregate=True)
                if held.finished or self._now() >= due:
                    ready, held = held, None
                    yield ready
                    due = self._now() + self._seconds * self._streams
        finally:
            if streams:
                self._streams -= 1
