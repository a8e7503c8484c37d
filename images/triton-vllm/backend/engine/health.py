"""Whether the engine gives tokens.

Every message of the engine core proves it, so a working engine is never asked. When none came for a while, a request
for one token asks. An engine from which something is wanted and nothing comes is not ready, and after a longer while
it is given up: only a restart helps then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from backend.container.processes import titles
from backend.patches import engine_heartbeat
from contract.timing import GIVE_UP_SECONDS, STALL_SECONDS, TICK_SECONDS

logger = logging.getLogger("triton_vllm")

# Silent for so long: ask for a token. A process that is stopped or gone is seen at once.
PROBE_AFTER_SECONDS = 20.0
# What the supervisor looks for in the log, to say it in the termination message.
GAVE_UP = "engine given up: "


@dataclass(slots=True)
class Progress:
    """When the engine last said something, and since when something has been wanted from it (seconds of one clock)."""

    heard: float
    wanted: float | None = None

    def look(self, now: float, busy: bool) -> None:
        """Note whether anything is wanted now."""
        if not busy:
            self.wanted = None
        elif self.wanted is None:
            self.wanted = now

    def stalled(self, now: float) -> float:
        """Seconds for which something was wanted and nothing came; 0 when nothing is wanted."""
        return 0.0 if self.wanted is None else max(0.0, now - max(self.heard, self.wanted))

    def silent(self, now: float) -> float:
        """Seconds since the engine last said something."""
        return now - self.heard


@dataclass(slots=True)
class EngineWatch:
    """Watches one engine from the loop in which it lives.

    ``probe`` asks for one token; ``busy`` says whether requests wait for the engine; ``give_up`` ends the process,
    with the reason; ``halted`` returns the engine's processes that are stopped or gone.
    """

    engine: Any
    probe: Callable[[], Awaitable[None]]
    busy: Callable[[], bool]
    give_up: Callable[[str], Awaitable[None]]
    halted: Callable[[], frozenset[int]] = frozenset
    # Why the engine has died, and what else keeps requests from it (empty: nothing does).
    death: Callable[[], str] = lambda: "the engine has died"
    obstacle: Callable[[], str] = str
    clock: Callable[[], float] = time.monotonic
    _progress: Progress = field(init=False)
    _asking: asyncio.Task[None] | None = field(init=False, default=None)
    _failure: str = field(init=False, default="")
    # Halted processes when a token was asked for, and those without which the engine has answered.
    _missing: frozenset[int] = field(init=False, default=frozenset())
    _spared: frozenset[int] = field(init=False, default=frozenset())

    def __post_init__(self) -> None:
        self._progress = Progress(self.clock())
        engine_heartbeat.install(self.engine.engine_core, self._heard)

    def problem(self) -> str:
        """Why the engine is not ready; empty when it is."""
        if self.engine.errored:
            return "the engine has died"
        stalled = self._progress.stalled(self.clock())
        if stalled >= STALL_SECONDS:
            return f"the engine has given nothing for {stalled:.0f} seconds{who(self.halted())}"
        return self._failure or self.obstacle()

    async def run(self) -> None:
        """Watch until the engine is given up or the task is cancelled."""
        while not (reason := self._step()):  # noqa: ASYNC110 - no event tells that nothing happens
            await asyncio.sleep(TICK_SECONDS)
        await self.give_up(reason)

    def _step(self) -> str:
        now = self.clock()
        if self.engine.errored:
            return self.death()
        halted = self.halted()
        if self._asking is not None and self._asking.done():
            self._failure, self._asking = _outcome(self._asking), None
            self._spared = self._missing & halted
        if self._asking is None and (halted - self._spared or self._progress.silent(now) >= PROBE_AFTER_SECONDS):
            self._missing = halted
            self._asking = asyncio.ensure_future(self.probe())
        self._progress.look(now, self._asking is not None or self.busy())
        stalled = self._progress.stalled(now)
        return f"it has given nothing for {stalled:.0f} seconds{who(halted)}" if stalled >= GIVE_UP_SECONDS else ""

    def _heard(self) -> None:
        self._progress.heard = self.clock()


def who(halted: frozenset[int]) -> str:
    """``; NAMES do not run`` for processes that are stopped or gone; empty without any."""
    return f"; {titles(halted)} does not run" if halted else ""


def _outcome(asked: asyncio.Task[None]) -> str:
    error = None if asked.cancelled() else asked.exception()
    if error is None:
        return ""
    logger.error("the engine refused a request for one token", exc_info=error)
    return f"the engine refused a request for one token: {error}"
