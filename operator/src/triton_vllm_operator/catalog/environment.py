"""The environment variables VLLM_* that each vLLM version reads: data/environment.json.

The file is made by tools/engine_arguments for the versions that the planner has rules for.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

from pydantic import ConfigDict

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.catalog import loader
from triton_vllm_operator.catalog.spelling import nearest
from triton_vllm_operator.catalog.versions import VLLMVersion
from triton_vllm_operator.catalog.violations import Violation, violation

FIELD = "spec.podTemplate.env"
PREFIX = "VLLM_"


@dataclass(frozen=True, slots=True)
class Reads:
    """Versions that read a variable: the first and the last index into `VariableTable.versions`."""

    span: tuple[int, int]


@dataclass(frozen=True, slots=True)
class VariableTable:
    """The data file. `versions`: oldest first."""

    __pydantic_config__: ClassVar[ConfigDict] = loader.CAMEL

    about: str
    versions: tuple[VLLMVersion, ...]
    variables: dict[str, tuple[Reads, ...]]


@cache
def known(version: str) -> frozenset[str]:
    """The variables that a vLLM version reads; empty for one that is not in the table."""
    table = _table()
    if version not in table.versions:
        return frozenset()
    at = table.versions.index(version)
    return frozenset(
        name for name, reads in table.variables.items() if any(one.span[0] <= at <= one.span[1] for one in reads)
    )


def check(names: Iterable[str], version: str) -> Iterator[Violation]:
    """Warn about each variable VLLM_* that the engine of a version does not read.

    Args:
        names: of environment variables, in the order of `spec.podTemplate.env`.
    """
    read = known(version)
    for name in names:
        if read and name.startswith(PREFIX) and name not in read:
            values = {"name": name, "version": version, "history": _history(name, version)}
            close = nearest(name, read)
            instead = f"Did you mean {close}?" if close is not None else f"Remove it from {FIELD}."
            yield violation(f"{FIELD}.{name}", Reason.VARIABLE_NOT_READ, **values, instead=instead)


def _history(name: str, version: str) -> str:
    """Which version read the variable, in brackets; "" where none did."""
    table = _table()
    at, reads = table.versions.index(version), table.variables.get(name, ())
    before = [one.span[1] for one in reads if one.span[1] < at]
    if before:
        return f" (vLLM {table.versions[max(before)]} was the last version that did)"
    after = [one.span[0] for one in reads]
    return f" (vLLM {table.versions[min(after)]} is the first version that does)" if after else ""


def _table() -> VariableTable:
    return loader.load_json("environment.json", VariableTable)
