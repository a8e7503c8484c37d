"""Traits of the engine's model classes: a table kept as data, read from what the classes allocate."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class ModelClass:
    """What the engine's class for one model type keeps, beyond what ``config.json`` tells; see the data file."""

    every_stage: frozenset[str] = frozenset()
    rotary: Literal["table", "frequencies", "none"] = "table"
    rotary_bytes: int = 2
    rotary_sets: int = 1
    router_bytes: int = 0
    one_expert_a_rank: bool = False


@cache
def _table() -> dict[str, dict[str, Any]]:
    text = files("triton_vllm_operator.capacity").joinpath("data/model_classes.json").read_text(encoding="utf-8")
    table: dict[str, dict[str, Any]] = json.loads(text)["classes"]
    return table


@cache
def model_class(model_type: str) -> ModelClass:
    """The class's traits; the common ones for a type that the table does not name."""
    traits = dict(_table().get(model_type, {}))
    return ModelClass(every_stage=frozenset(traits.pop("every_stage", ())), **traits)
