"""Logits processors that hinder an engine: while a file is there, its own code fails or is slow; or top-p ends it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from vllm.v1.sample.logits_processor import LogitsProcessor

STEP_SECONDS = 0.25


class _Hindrance(LogitsProcessor):  # type: ignore[misc] # vLLM is not here when types are checked
    """Leaves the logits as they are. `variable` names the file."""

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
    """Each step takes at least `STEP_SECONDS`."""

    variable = "SLOW_WHILE"

    def hinder(self) -> None:
        """Wait."""
        time.sleep(STEP_SECONDS)


class RaisingAtTopP(_Hindrance):
    """The engine raises at the first request with top-p, as one does whose sampler cannot be compiled."""

    variable = "HOME"
    _asked = False

    def hinder(self) -> None:
        """Raise when a request wants top-p."""
        if self._asked:
            raise RuntimeError("raised by the test at top-p")

    def update_state(self, batch_update: Any) -> None:
        """Note what the requests want that have come."""
        if batch_update is not None:
            self._asked = self._asked or any(params.top_p < 1 for _, params, *_ in batch_update.added)


class Telling(_Hindrance):
    """Writes, as JSON, the environment of the engine's process and its number of threads into the file."""

    variable = "FOUND_FILE"

    def __init__(self, *_: Any) -> None:
        import torch

        super().__init__()
        told = {"environment": dict(os.environ), "threads": torch.get_num_threads(), "pid": os.getpid()}
        self._file.write_text(json.dumps(told))

    def hinder(self) -> None:
        """Nothing."""
