"""The keys of object arguments, by vLLM's own configuration classes: data/nested_arguments.json.

The file is made by tools/engine_arguments for the versions that the planner has rules for; the objects of older ones
are not checked.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.catalog import loader
from triton_vllm_operator.catalog.argument_table import Argument, JSONType
from triton_vllm_operator.catalog.argument_values import (
    abbreviated,
    choice_advice,
    has_valid_type,
    intended_value,
    type_names,
    yaml_line,
)
from triton_vllm_operator.catalog.spelling import nearest
from triton_vllm_operator.catalog.versions import VLLMVersion
from triton_vllm_operator.catalog.violations import Violation, violation


@dataclass(frozen=True, slots=True)
class Form:
    """What an argument, a class or its field was in the versions of `span`.

    Attributes:
        config: the class whose fields are the keys.
        types, choices, open: of a field, as in `argument_table.Argument`.
        extra: of a class: whether the engine stops at a key that it does not have, or ignores it.
        validated: of a class: whether the engine checks the values.
    """

    span: tuple[int, int]
    config: str | None = None
    types: tuple[JSONType, ...] = ()
    choices: tuple[Any, ...] = ()
    open: bool = False
    extra: Literal["forbid", "ignore"] = "forbid"
    validated: bool = True


@dataclass(frozen=True, slots=True)
class NestedTable:
    """The data file. `versions`: oldest first. `fields`: arguments, classes, and fields as CLASS.FIELD."""

    __pydantic_config__: ClassVar[ConfigDict] = loader.CAMEL

    about: str
    versions: tuple[VLLMVersion, ...]
    fields: dict[str, tuple[Form, ...]]


@dataclass(frozen=True, slots=True)
class _Place:
    """An object inside an argument: the path of its keys, the field of the spec, and the engine in words."""

    path: str
    field: str
    engine: str


@cache
def forms(version: str) -> Mapping[str, Form]:
    """The arguments, classes and fields of a vLLM version; {} for one that is not in the table."""
    table = loader.load_json("nested_arguments.json", NestedTable)
    if version not in table.versions:
        return {}
    at = table.versions.index(version)
    return {name: form for name, found in table.fields.items() for form in found if form.span[0] <= at <= form.span[1]}


def check(name: str, value: Any, field: str, version: str, engine: str) -> Iterator[Violation]:
    """Violations in the keys of an object argument.

    Args:
        field: of the spec that sets the argument.
        engine: in words, for messages.
    """
    known = forms(version)
    if name in known and isinstance(value, Mapping):
        yield from _check(known, known[name].config, value, _Place(name, field, engine))


def _check(
    known: Mapping[str, Form], config: str | None, value: Mapping[str, Any], place: _Place
) -> Iterator[Violation]:
    if config is None or config not in known:
        return
    fields = _fields(known, config)
    for key, inner in value.items():
        below = _Place(f"{place.path}.{key}", f"{place.field}.{key}", place.engine)
        right = str(key).replace("-", "_") if config == "SpeculativeConfig" else str(key)  # as the engine does
        form = fields.get(right)
        if form is None:
            yield _unknown_key(known[config], frozenset(fields), str(key), inner, below, place)
        elif inner is not None and known[config].validated:
            yield from _check_value(known, form, inner, below)


def _fields(known: Mapping[str, Form], config: str | None) -> dict[str, Form]:
    start = f"{config}."
    return {name.removeprefix(start): form for name, form in known.items() if name.startswith(start)}


def _unknown_key(config: Form, fields: frozenset[str], key: str, value: Any, below: _Place, place: _Place) -> Violation:
    close = nearest(key, fields)
    instead = f"{place.field}.{close}: {yaml_line(value)}" if close is not None else ""
    if config.extra == "ignore":
        why = f"{place.engine} has no {key} in {place.path}, and ignores it"
        advice = instead or f"one of {', '.join(sorted(fields))}"
        return violation(below.field, Reason.ARGUMENT_IGNORED, why=why, instead=advice)
    values = {"engine": place.engine, "name": below.path}
    if not instead:
        return violation(below.field, Reason.ARGUMENT_UNKNOWN, **values)
    return violation(below.field, Reason.ARGUMENT_MISSPELT, **values, instead=instead)


def _check_value(known: Mapping[str, Form], form: Form, value: Any, place: _Place) -> Iterator[Violation]:
    argument = Argument(place.path, form.types, form.choices, form.open)
    if not has_valid_type(argument, value):
        better = intended_value(argument, value)
        instead = (
            f"Set {place.field}: {yaml_line(better)}." if better is not None else f"Correct or remove {place.field}."
        )
        values = {"name": place.path, "type": type_names(argument), "given": abbreviated(value), "instead": instead}
        yield violation(place.field, Reason.ARGUMENT_TYPE, **values)
    elif form.choices and not form.open and value not in form.choices and "object" not in form.types:
        choices = ", ".join(yaml_line(choice) for choice in dict.fromkeys(form.choices))
        close = nearest(str(value), frozenset(str(choice) for choice in form.choices))
        values = {"engine": place.engine, "name": place.path, "given": abbreviated(value), "choices": choices}
        yield violation(place.field, Reason.ARGUMENT_CHOICE, **values, instead=choice_advice(place.field, close))
    elif isinstance(value, Mapping):
        yield from _check(known, form.config, value, place)
