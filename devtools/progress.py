"""Progress of commands that take minutes: lines for the terminal, durations, names of log files."""

from __future__ import annotations

import sys
from pathlib import Path


def say(text: str) -> None:
    """Print text to standard output and flush it, so that a pipe shows it at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def duration(seconds: float) -> str:
    """Seconds as text, rounded: `59s`, `12m34s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


def log_file(folder: Path, name: str) -> Path:
    """Path of the log of a step or stage; spaces of its name become hyphens."""
    return folder / f"{name.replace(' ', '-')}.log"
