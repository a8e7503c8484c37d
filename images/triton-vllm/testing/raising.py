"""A logits processor that raises once a file is there: an engine whose own code fails."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from vllm.v1.sample.logits_processor import LogitsProcessor


class Raising(LogitsProcessor):  # type: ignore[misc] # vLLM is not here when types are checked
    """Changes nothing until the file that ``RAISE_WHEN`` names is there."""

    def __init__(self, *_: Any) -> None:
        self._file = Path(os.environ["RAISE_WHEN"])

    def apply(self, logits: Any) -> Any:
        """The logits as they are."""
        if self._file.exists():
            raise RuntimeError("raised by the test")
        return logits

    def is_argmax_invariant(self) -> bool:
        """False: such a processor runs in every step."""
        return False

    def update_state(self, _batch_update: Any) -> None:
        """Nothing is kept."""
