"""Traits of vLLM's model classes that no file of a model tells, by model type: data/model_classes.json."""

from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Literal

from pydantic import ConfigDict

from triton_vllm_operator.catalog import loader


@dataclass(frozen=True, slots=True)
class ModelClass:
    """What vLLM's class for one model type allocates beyond what `config.json` tells; see the data file."""

    __pydantic_config__: ClassVar[ConfigDict] = loader.SNAKE

    every_stage: frozenset[str] = frozenset()
    rotary: Literal["table", "frequencies", "none"] = "table"
    rotary_bytes: int = 2
    rotary_sets: int = 1
    router_bytes: int = 0
    one_expert_per_rank: bool = False


@dataclass(frozen=True, slots=True)
class ModelClasses:
    """The data file: model type -> traits."""

    __pydantic_config__: ClassVar[ConfigDict] = loader.SNAKE

    about: str
    classes: dict[str, ModelClass]


@cache
def model_class(model_type: str) -> ModelClass:
    """The traits of a model type's class; the common ones for a type that the table does not name."""
    return loader.load_json("model_classes.json", ModelClasses).classes.get(model_type, ModelClass())
