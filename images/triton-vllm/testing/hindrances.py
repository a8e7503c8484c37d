"""Logits processors that hinder an engine while a file is there: one whose own code fails, one that is slow."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from vllm.v1.sample.logits_processor import LogitsProcessor

STEP_SECONDS = 0.25


class _Hindrance(LogitsProcessor):  # type: ignore[misc] # vLLM is not here when types are checked
    """Leaves the logits as they are. ``variable`` names the file."""

    variable: str

    def __init__(self, *_: Any) -> None:
        self._file = Path(os.environ[self.variable])

    def apply(self, logits: Any) -> Any:
        """The logits as they are."""
        if self._file.exists():
            self.hinder()
        return logits

    def hinder(self) -> None:
        """What it does in every step."""
        raise NotImplementedError

    def is_argmax_invariant(self) -> bool:
        """False: such a processor runs in every step."""
        return False

    def update_state(self, _batch_update: Any) -> None:
        """Nothing is kept."""


class Raising(_Hindrance):
    """The engine raises."""

    variable = "RAISE_WHEN"

    def hinder(self) -> None:
        """Raise."""
        raise RuntimeError("raised by the test")


class Slow(_Hindrance):
    """Each step takes at least ``STEP_SECONDS``."""

    variable = "SLOW_WHILE"

    def hinder(self) -> None:
        """Wait."""
        time.sleep(STEP_SECONDS)
