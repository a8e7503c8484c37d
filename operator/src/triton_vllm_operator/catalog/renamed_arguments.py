"""What replaces an engine argument that a later vLLM no longer supports: data/renamed_arguments.yaml."""

from dataclasses import dataclass
from datetime import date
from typing import Any, ClassVar

from pydantic import ConfigDict

from triton_vllm_operator.catalog import argument_table, loader
from triton_vllm_operator.catalog.argument_table import EngineArguments
from triton_vllm_operator.catalog.versions import VLLMVersion


@dataclass(frozen=True, slots=True)
class RenamedArgument:
    """A removed argument and its replacement; the data file explains the keys."""

    argument: str
    why: str
    to: str | None = None
    negate: bool = False
    value: Any = None
    since: VLLMVersion | None = None

    def replacement(self, value: Any) -> dict[str, Any]:
        """The arguments to set instead of the old one with `value`; empty when nothing replaces it."""
        if self.to is None:
            return {}
        new = self.value if self.value is not None else (not value) if self.negate else value
        name, _, key = self.to.partition(".")
        return {name: {key: new}} if key else {name: new}


@dataclass(frozen=True, slots=True)
class RenamedArguments:
    """The data file."""

    __pydantic_config__: ClassVar[ConfigDict] = loader.CAMEL

    checked: date
    renamed: tuple[RenamedArgument, ...]


def renamed_arguments() -> tuple[RenamedArgument, ...]:
    """Every removed argument, with older advice about it before newer."""
    return loader.load_yaml("renamed_arguments.yaml", RenamedArguments).renamed


def renamed(engine: EngineArguments, name: str) -> RenamedArgument:
    """The newest advice that holds for an argument which this version of the engine no longer supports.

    Raises:
        IndexError: when the file has none: a test demands one for every argument that was ever removed.
    """
    return [
        one
        for one in renamed_arguments()
        if one.argument == name and (one.since is None or not argument_table.newer(one.since, engine.version))
    ][-1]
