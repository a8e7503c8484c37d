"""Architectures whose plan is proven to equal the engine's: data/architectures.json."""

from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Literal

from pydantic import ConfigDict

from triton_vllm_operator.catalog import loader

Proof = Literal["config", "headers"]
"""From what the engine's weights follow: `config.json` alone, or only the headers of the safetensors files."""


@dataclass(frozen=True, slots=True)
class Architectures:
    """The data file, written by `python -m tests.oracle.walk`.

    Attributes:
        versions: of vLLM, whose registries were walked, the oldest first.
        registered: number of architectures in the newest registry.
        planned: per architecture and model type of the text model the proof.
        one_stage: architectures whose class the engine does not cut into pipeline stages.
        unknown: per other architecture of the newest registry why no plan is made.
        defaults: per model type the values of fields that config.json may leave out.
    """

    __pydantic_config__: ClassVar[ConfigDict] = loader.SNAKE

    about: str
    versions: tuple[str, ...]
    registered: int
    planned: dict[str, dict[str, Proof]]
    one_stage: tuple[str, ...]
    unknown: dict[str, str]
    defaults: dict[str, dict[str, int | float | bool | str]]


@cache
def table() -> Architectures:
    """The table, read once."""
    return loader.load_json("architectures.json", Architectures)
