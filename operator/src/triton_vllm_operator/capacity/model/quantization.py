"""The least GPU of each quantization method, by engine version: generated from the table of the engine's contract."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from triton_vllm_operator.capacity.memory.engine_rules import parse_version
from triton_vllm_operator.capacity.memory.engine_settings import EngineSettings
from triton_vllm_operator.capacity.model.shape import ModelShape

#: Methods that left the engine, with the first version that lacks them.
REMOVED_METHODS = {"bitsandbytes": (0, 32, 0), "gguf": (0, 32, 0)}


def method_of(shape: ModelShape, settings: EngineSettings) -> str:
    """The method with which the engine loads the model; "" for none."""
    return settings.quantization or (shape.quantization.method if shape.quantization else "")


def least_capability(method: str, version: tuple[int, int, int]) -> tuple[int, int] | None:
    """The compute capability that the method's kernels need; None where the engine names none.

    Of a version that is not in the table the lower of the entries around it counts: a refusal must be certain.
    """
    forms = [(parse_version(first), least) for first, least in _table()["methods"].get(method, ())]
    before = [least for first, least in forms if first <= version]
    after = [least for first, least in forms if first > version]
    around = before[-1:] if version in _versions() else [*before[-1:], *after[:1]]
    known = [least for least in around if least is not None]
    return divmod(min(known), 10) if known else None


@cache
def _versions() -> frozenset[tuple[int, int, int]]:
    return frozenset(map(parse_version, _table()["versions"]))


@cache
def _table() -> dict[str, Any]:
    text = files("triton_vllm_operator.capacity").joinpath("data/least_capability.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table
