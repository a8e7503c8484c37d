"""Events that the processes of the backend send to the supervisor, one line each through a pipe.

tritonserver does not report them: it may collect a process that was killed before anybody sees how it ended, and when
it stops it waits for connections on which no request runs.
"""

from __future__ import annotations

import enum
import os
import time
from collections.abc import Mapping

# The number of the pipe.
EVENTS_VARIABLE = "TRITON_VLLM_EVENTS_FD"


class Event(enum.StrEnum):
    """What happened to the process that sends it."""

    STARTED = "started"
    ENDED = "ended"  # in order: tritonserver asked for it, or the model failed to load
    IDLE = "idle"  # while it stops: no request runs
    BUSY = "busy"


def send(environment: Mapping[str, str], event: Event) -> None:
    """Send an event of this process; without a supervisor nothing."""
    if (number := environment.get(EVENTS_VARIABLE)) is not None:
        os.write(int(number), f"{event} {os.getpid()}\n".encode())


class EventReader:
    """The supervisor's end of the pipe.

    Attributes:
        running: ids of the processes that have started and not ended in order.
    """

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._rest = b""
        self._idle: set[int] = set()
        self._quiet_since: float | None = None
        self.running: set[int] = set()
        os.set_blocking(pipe, False)

    def read(self) -> None:
        """Take in what was sent since the last call."""
        try:
            *lines, self._rest = (self._rest + os.read(self._pipe, 1 << 16)).split(b"\n")
        except BlockingIOError:
            return
        for line in lines:
            event, _, pid = line.decode().partition(" ")
            self._note(Event(event), int(pid))

    def quiet(self) -> float:
        """Return for how many seconds no process has had a request: all that have started are idle or have ended."""
        return 0.0 if self._quiet_since is None else time.monotonic() - self._quiet_since

    def _note(self, event: Event, pid: int) -> None:
        if event is Event.STARTED:
            self.running.add(pid)
        elif event is Event.ENDED:
            self.running.discard(pid)
        elif event is Event.IDLE:
            self._idle.add(pid)
        else:
            self._idle.discard(pid)
        if self.running - self._idle:
            self._quiet_since = None
        elif self._quiet_since is None:
            self._quiet_since = time.monotonic()
