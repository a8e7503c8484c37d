"""Processes by number and program name."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from devtools.polling import wait_for


def process_named(pid: int, name: str) -> bool:
    """Whether process `pid` lives and its program is called `name`; one that has ended is gone, collected or not."""
    try:
        found, state = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rsplit(")", 1)
    except OSError:
        return False
    return found == name and state.split()[0] not in "ZX"


def end_process(pid: int, name: str, patience: float) -> None:
    """Ask the process to stop, kill it after `patience` seconds; nothing happens when it is not `name`."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not process_named(pid, name):
            return
        os.kill(pid, number)
        wait_for(lambda: not process_named(pid, name), patience)
