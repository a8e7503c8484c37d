"""Rows measured on GPUs, compared with the plan."""

from __future__ import annotations

from pathlib import Path

from tests.gpu.compare import Compared, compare, read

ROWS = read(Path(__file__).parents[1] / "capacity" / "gpu_rows.jsonl")
FOUND = compare(ROWS)
STARTED = [one for one in FOUND if one.started]


def name(one: Compared) -> str:
    """The case's name."""
    return str(one.row["case"])
