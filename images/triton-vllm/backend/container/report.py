"""The start-up report: one JSON line per phase, and on failure one JSON line that is also the termination message."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from contract.report import CAUSE, ENGINE_LINE, HINT

PREFIX = "STARTUP "
# Kubernetes keeps at most 4096 bytes of a termination message.
TERMINATION_BYTES = 4096
# Where the kubelet reads the message, and where the processes of one server share when the start began.
TERMINATION_VARIABLE = "TRITON_VLLM_TERMINATION_LOG"
STARTED_VARIABLE = "TRITON_VLLM_STARTED"
DEFAULT_TERMINATION_LOG = "/dev/termination-log"

# What the process before this one in the start has reported, for the one that serves the report.
PHASES_VARIABLE = "TRITON_VLLM_PHASES"

_lock = threading.Lock()
_phases: list[dict[str, Any]] = []


def begin() -> None:
    """Remember when the start began, for all processes started from here."""
    os.environ.setdefault(STARTED_VARIABLE, repr(time.time()))


def phase(name: str, seconds: float | None = None, **facts: Any) -> None:
    """Write the line of a finished phase. `seconds`: how long it took."""
    line: dict[str, Any] = {"phase": name, "elapsed": round(elapsed(), 2)}
    if seconds is not None:
        line["seconds"] = round(seconds, 2)
    note(line)
    write({**line, **facts})


def note(line: dict[str, Any]) -> None:
    """Keep the name and the times of a phase that was written elsewhere, for `phases`."""
    _phases.append(line)


def phases() -> list[dict[str, Any]]:
    """Names and times (seconds) of the phases so far, in the order of their ends, those of the launcher first."""
    before: list[dict[str, Any]] = json.loads(os.environ.get(PHASES_VARIABLE) or "[]")
    return before + _phases


def failure(cause: str, *, hint: str, engine_line: str = "", phase_name: str = "") -> None:
    """Write the line of a failed start or a death; the same text becomes the container's termination message."""
    line = {"phase": phase_name or "Failed", "elapsed": round(elapsed(), 2), "failed": True, CAUSE: cause[:1000]}
    line.update({ENGINE_LINE: engine_line[:1500], HINT: hint} if engine_line else {HINT: hint})
    write(line)
    write_termination_message(json.dumps(line, ensure_ascii=False))


def elapsed() -> float:
    """Seconds since the start began."""
    return time.time() - float(os.environ.get(STARTED_VARIABLE) or time.time())


def write(line: dict[str, Any]) -> None:
    """One whole line to standard output, whatever other threads write."""
    text = PREFIX + json.dumps(line, ensure_ascii=False) + "\n"
    with _lock:
        sys.stdout.flush()
        os.write(1, text.encode())


def write_termination_message(text: str) -> None:
    """The first message stays: it is the cause, what follows are its effects."""
    path = Path(os.environ.get(TERMINATION_VARIABLE) or DEFAULT_TERMINATION_LOG)
    if not path.exists() or path.stat().st_size > 0:
        return
    try:
        path.write_bytes(text.encode()[:TERMINATION_BYTES])
    except OSError as error:
        os.write(2, f"failed to write the termination message to {path}: {error}\n".encode())
