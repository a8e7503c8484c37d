"""Checkpoints of every kind start with default settings, answer every kind of request and live on."""

from __future__ import annotations

from typing import Any

from gpu.exercise import GRAMMAR, exercise
from gpu.place import Place, started
from gpu.record import Record
from gpu.remains import gpu_memory


def start(place: Place, record: Record, shape: str, *, chat: bool = True, **engine: Any) -> None:
    """One start."""
    with started(place, place.engine(shape, **GRAMMAR, **engine), record) as found:
        record.headline["ready"] = round(found.seconds, 1)
        gpu_memory(place, found.server, record)
        exercise(found, record, chat=chat)
        gpu_memory(place, found.server, record)
