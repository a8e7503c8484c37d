"""Architectures that the engine serves without generating text: data/pooling_architectures.yaml."""

from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import ClassVar

from pydantic import ConfigDict

from triton_vllm_operator.catalog import loader


@dataclass(frozen=True, slots=True)
class PoolingArchitectures:
    """The data file. `versions`: of vLLM, whose registry was read."""

    __pydantic_config__: ClassVar[ConfigDict] = loader.CAMEL

    checked: date
    versions: tuple[str, ...]
    architectures: frozenset[str]


@cache
def table() -> PoolingArchitectures:
    """The table, read once."""
    return loader.load_yaml("pooling_architectures.yaml", PoolingArchitectures)
