"""The rows that are kept: one JSON object per line, one line per case."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gpu.record import FAILED, NOT_RUN, PASSED

Row = dict[str, Any]


def read(file: Path) -> Iterator[Row]:
    """All rows of a file; none of a file that is not there."""
    if file.exists():
        yield from (json.loads(line) for line in file.read_text().splitlines() if line)


def latest(file: Path, case: str) -> Row | None:
    """The last row of a case that was measured to the end."""
    return next((row for row in reversed(list(read(file))) if row["case"] == case and "facts" in row), None)


def add(file: Path, row: Row) -> None:
    """Append one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as handle:
        handle.write(json.dumps(row, ensure_ascii=False) + "\n")


def line(row: Row) -> str:
    """The summary of a case in one line, with its problems below."""
    facts = ", ".join(f"{name} {value}" for name, value in row.get("headline", {}).items())
    lines = [f"{row['outcome']:<8} {row['case']:<34} {row['seconds']:6.1f} s  {facts}"]
    lines += [f"         - {problem}" for problem in row.get("problems", [])]
    lines += [f"         ? {question}" for question in row.get("openQuestions", [])]
    return "\n".join(lines)


def verdict(rows: list[Row]) -> tuple[str, int]:
    """The last line and the exit code: 1 when a case failed, 2 when the time was too short or none passed."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["outcome"]] = counts.get(row["outcome"], 0) + 1
    lines = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())) or "no case"
    code = 1 if FAILED in counts else 2 if NOT_RUN in counts or PASSED not in counts else 0
    return f"verdict: {lines}", code
