"""Rows that a GPU gave beside what the planner says for the same start."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from triton_vllm_operator.capacity import (
    EngineSettings,
    GPUClass,
    Plan,
    gpu_by_product,
    plan,
    shape_from_config,
)
from triton_vllm_operator.capacity.memory.overhead import Interval

from .cases import CASES, Case
from .models import MODELS

GIB = 2**30
Row = dict[str, Any]
_SETTINGS = {field.name for field in fields(EngineSettings)}


@dataclass(frozen=True, slots=True)
class Term:
    """One measured number of bytes and its planned interval."""

    measured: int
    planned: Interval

    @property
    def inside(self) -> bool:
        """Whether the interval holds the number."""
        return self.planned.low <= self.measured <= self.planned.high


@dataclass(frozen=True, slots=True)
class Compared:
    """A start, its plan, and the terms that the engine came to measure before it started or refused."""

    row: Row
    answer: Plan
    terms: dict[str, Term]

    @property
    def started(self) -> bool:
        """Whether the engine started."""
        return bool(self.row["outcome"] == "ok")

    @property
    def error(self) -> float:
        """Relative error of the expected KV cache."""
        term = self.terms["available"]
        return term.planned.expected / term.measured - 1

    @property
    def wrong(self) -> list[str]:
        """What the plan got wrong."""
        found = [name for name, term in self.terms.items() if not term.inside]
        if not self.started and self.answer.verdict == "Fits":
            found.append("Fits, but refused")
        if self.started and self.answer.verdict == "DoesNotFit":
            found.append("DoesNotFit, but started")
        return found


def read(path: Path) -> list[Row]:
    """Rows of starts that ended by themselves."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [row for row in rows if row["outcome"] in {"ok", "refused"}]


def compare(rows: Iterable[Row]) -> list[Compared]:
    """Each row with its plan."""
    cases = {case.name: case for case in CASES}
    return [_compared(row, cases[row["case"]]) for row in rows]


def _compared(row: Row, case: Case) -> Compared:
    ranks = [rank for rank in row.get("ranks", []) if rank.get("available_kv_cache_memory_bytes") is not None]
    answer = plan(shape_from_config(MODELS[case.model]), settings(case, row["vllm"]), _gpu(row))
    if not ranks:
        return Compared(row, answer, {})
    rank = min(ranks, key=lambda one: int(one["available_kv_cache_memory_bytes"]))
    spent = answer.overhead
    return Compared(row, answer, {
        "activation": Term(rank["peak_activation_memory"], spent.activation),
        "non-torch": Term(rank["non_torch_memory"], spent.non_torch),
        "CUDA graphs": Term(rank["cudagraph_memory_estimate"], spent.cuda_graph),
        "available": Term(rank["available_kv_cache_memory_bytes"], answer.kv_bytes),
    })  # fmt: skip


def settings(case: Case, version: str) -> EngineSettings:
    """The planner's form of a case."""
    known = {name: value for name, value in case.settings.items() if name in _SETTINGS}
    runner = {"": None, "v1": False, "v2": True}[case.runner]
    return EngineSettings(engine_version=version, use_v2_model_runner=runner, compile_cache_warm=bool(case.warm_after),
                          **known)  # fmt: skip


def _gpu(row: Row) -> GPUClass:
    known = gpu_by_product(row["gpu"])
    totals = [rank["start"]["total"] for rank in row.get("ranks", []) if "start" in rank]
    return replace(known, memory_bytes=totals[0]) if totals else known


def table(found: Iterable[Compared]) -> str:
    """A Markdown table: measured GiB, then the planned interval where it is not zero."""
    lines = ["| case | runner | activation | non-torch | CUDA graphs | KV cache | error | engine | plan |",
             "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    lines += [f"| {' | '.join(_cells(one))} |" for one in found]
    return "\n".join(lines) + "\n"


def _cells(one: Compared) -> list[str]:
    runner = "V2" if one.answer.resolved.v2_runner else "V1"
    terms = [_cell(term) for term in one.terms.values()] or ["", "", "", ""]
    error = f"{one.error:+.1%}" if one.started else ""
    return [one.row["case"], runner, *terms, error, one.row["outcome"], one.answer.verdict]


def _cell(term: Term) -> str:
    if not term.measured and not term.planned.high:
        return "0"
    text = f"{term.measured / GIB:.2f} ({term.planned.low / GIB:.2f} to {term.planned.high / GIB:.2f})"
    return text if term.inside else f"**{text}**"
