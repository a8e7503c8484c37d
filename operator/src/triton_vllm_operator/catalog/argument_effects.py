"""What each engine argument and environment variable does to the memory that is planned: data/argument_effects.yaml."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any, ClassVar

from pydantic import ConfigDict

from triton_vllm_operator.catalog import argument_table, environment, loader
from triton_vllm_operator.catalog.argument_policy import policy
from triton_vllm_operator.catalog.argument_table import EngineArguments
from triton_vllm_operator.catalog.argument_values import json_type


class Effect(StrEnum):
    """What an argument does to the plan.

    Members:
        PLANNED: the planner reads it.
        NONE: it changes no memory that is planned.
        UNPLANNED: it may change the memory in a way that the planner does not know.
        REFUSED: spec.engine.extraArgs does not allow it.
    """

    PLANNED = "planned"
    NONE = "none"
    UNPLANNED = "unplanned"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class KeyEffects:
    """Keys of an object argument that are planned, and those without an effect."""

    __pydantic_config__: ClassVar[ConfigDict] = loader.CAMEL

    planned: frozenset[str]
    without_effect: frozenset[str]


@dataclass(frozen=True, slots=True)
class ArgumentEffects:
    """The data file; its comments say what each list is for."""

    __pydantic_config__: ClassVar[ConfigDict] = loader.CAMEL

    checked: date
    planned: tuple[str, ...]
    without_effect: tuple[str, ...]
    unplanned: tuple[str, ...]
    known_values: dict[str, tuple[Any, ...]]
    nested: dict[str, KeyEffects]
    harmless_variables: frozenset[str]


def table() -> ArgumentEffects:
    """The effects of all arguments."""
    return loader.load_yaml("argument_effects.yaml", ArgumentEffects)


def effects_of(name: str) -> list[Effect]:
    """Every effect that the catalog gives an argument: exactly one for an argument that is classed."""
    lists = (
        (Effect.PLANNED, table().planned),
        (Effect.NONE, table().without_effect),
        (Effect.UNPLANNED, table().unplanned),
        (Effect.REFUSED, (*policy().owned, *policy().unsafe)),
    )
    return [effect for effect, names in lists for _ in range(names.count(name))]


def unplanned(given: Mapping[str, Any], vllm_version: str) -> list[str]:
    """Arguments, and keys of object arguments as "argument.key", whose effect on the memory is not planned.

    An argument that the catalog does not know counts as unplanned. One with the engine's own default has no effect.

    Args:
        given: arguments by vLLM's names.
        vllm_version: also one that is not in the table of arguments; then the newest before it counts.
    """
    engine = argument_table.load(argument_table.known_version(vllm_version))
    return sorted(path for name, value in given.items() for path in _unplanned(engine, name, value))


def unplanned_variables(names: Iterable[str], vllm_version: str) -> list[str]:
    """Environment variables that the engine reads, and whose effect on the memory is not planned."""
    read = environment.known(argument_table.known_version(vllm_version))
    return sorted(name for name in set(names) if name in read and name not in table().harmless_variables)


def _unplanned(engine: EngineArguments, name: str, value: Any) -> Iterator[str]:
    effects = effects_of(name)
    if _is_default(engine, name, value) or Effect.NONE in effects:
        return
    keys, values = table().nested.get(name), table().known_values.get(name)
    if any(_same(value, one) for one in values or ()):
        return
    if Effect.PLANNED not in effects or values is not None:
        yield name
    elif keys is not None and isinstance(value, Mapping):
        known = keys.planned | keys.without_effect
        yield from (f"{name}.{key}" for key, inner in value.items() if key not in known and inner is not None)


def _is_default(engine: EngineArguments, name: str, value: Any) -> bool:
    """Whether an argument is as if it were absent. Empty objects and lists set nothing."""
    known = engine.arguments.get(name)
    return value is None or value in ({}, []) or (known is not None and _same(value, known.default))


def _same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal: 4 is 4.0, and 1 is not true."""
    return bool(one == other) and (json_type(one) == "bool") == (json_type(other) == "bool")
