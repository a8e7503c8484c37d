"""Whether the engine generates tokens.

Every message of the engine core proves it, so a working engine is never asked. When none came for a while, a request
for one token asks. If requests wait and no message comes, the engine is not ready, and after a longer
time it is given up: then only a restart helps.
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
    """When the engine sent its last message, and since when a request waits for it (seconds of one clock)."""

    last_message: float
    waiting_since: float | None = None

    def note_busy(self, now: float, busy: bool) -> None:
        """Note whether a request waits for the engine now."""
        if not busy:
            self.waiting_since = None
        elif self.waiting_since is None:
            self.waiting_since = now

    def stalled(self, now: float) -> float:
        """Return seconds for which a request waited without a message of the engine; 0 when none waits."""
        return 0.0 if self.waiting_since is None else max(0.0, now - max(self.last_message, self.waiting_since))

    def silent(self, now: float) -> float:
        """Return seconds since the last message of the engine."""
        return now - self.last_message


@dataclass(slots=True)
class EngineWatch:
    """Watches one engine from the loop in which it lives.

    `probe` asks for one token; `busy` says whether requests wait for the engine; `give_up` ends the process,
    with the reason; `halted` returns the engine's processes that are stopped or gone.
    """

    engine: Any
    probe: Callable[[], Awaitable[object]]
    busy: Callable[[], bool]
    give_up: Callable[[str], Awaitable[None]]
    halted: Callable[[], frozenset[int]] = frozenset
    # Why the engine has died, and what else keeps requests from it (empty: nothing does).
    death: Callable[[], str] = lambda: "the engine has died"
    obstacle: Callable[[], str] = str
    clock: Callable[[], float] = time.monotonic
    _progress: Progress = field(init=False)
    _asking: asyncio.Future[object] | None = field(init=False, default=None)
    _failure: str = field(init=False, default="")
    # Halted processes when a token was asked for, and those without which the engine has answered.
    _missing: frozenset[int] = field(init=False, default=frozenset())
    _spared: frozenset[int] = field(init=False, default=frozenset())

    def __post_init__(self) -> None:
        self._progress = Progress(self.clock())
        engine_heartbeat.install(self.engine.engine_core, self._note_message)

    def problem(self) -> str:
        """Why the engine is not ready; empty when it is."""
        if self.engine.errored:
            return "the engine has died"
        stalled = self._progress.stalled(self.clock())
        if stalled >= STALL_SECONDS:
            return f"the engine has not responded for {stalled:.0f} seconds{who(self.halted())}"
        return self._failure or self.obstacle()

    async def run(self) -> None:
        """Watch until the engine is given up or the task is cancelled."""
        while not (reason := self._step()):  # noqa: ASYNC110 - there is no event for silence
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
        self._progress.note_busy(now, self._asking is not None or self.busy())
        stalled = self._progress.stalled(now)
        return f"it has not responded for {stalled:.0f} seconds{who(halted)}" if stalled >= GIVE_UP_SECONDS else ""

    def _note_message(self) -> None:
        self._progress.last_message = self.clock()


def who(halted: frozenset[int]) -> str:
    """`; NAMES do not run` for processes that are stopped or gone; empty without any."""
    return f"; {titles(halted)} does not run" if halted else ""


def _outcome(asked: asyncio.Future[object]) -> str:
    error = None if asked.cancelled() else asked.exception()
    if error is None:
        return ""
    logger.error("the engine rejected a request for one token", exc_info=error)
    return f"the engine rejected a request for one token: {error}"
