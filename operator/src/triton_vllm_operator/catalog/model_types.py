"""Model types that the engine loads without Python code of the model's repository: data/model_types.json."""

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

from pydantic import ConfigDict

from triton_vllm_operator.catalog import loader


@dataclass(frozen=True, slots=True)
class ModelTypes:
    """The data file, written by `python -m tools.model_types`. `sources`: the packages that were asked."""

    __pydantic_config__: ClassVar[ConfigDict] = loader.SNAKE

    about: str
    sources: tuple[str, ...]
    types: frozenset[str]


@cache
def known_model_types() -> frozenset[str]:
    """Values of `model_type` in config.json."""
    return loader.load_json("model_types.json", ModelTypes).types
