"""Translates the engine arguments of a `model.json` that was written for another vLLM."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from triton_vllm_operator.catalog import argument_table, arguments
from triton_vllm_operator.catalog.argument_policy import policy
from triton_vllm_operator.catalog.argument_table import EngineArguments
from triton_vllm_operator.catalog.argument_values import abbreviated, has_valid_type, intended_value, yaml_line
from triton_vllm_operator.catalog.renamed_arguments import renamed
from triton_vllm_operator.catalog.spelling import canonical, nearest

Outcome = Literal["kept", "changed", "dropped"]


@dataclass(frozen=True, slots=True)
class Translation:
    """What became of one argument.

    Attributes:
        name: as it was written.
        outcome: whether it is kept, changed or dropped.
        text: the result in words.
        values: what to set for it, by the names of this vLLM; empty when it is dropped.
    """

    name: str
    outcome: Outcome
    text: str
    values: Mapping[str, Any] = field(default_factory=dict)


def translate(given: Mapping[str, Any], vllm_version: str) -> Iterator[Translation]:
    """The translation of each argument, in their order.

    Raises:
        KeyError: for a version that is not in the table of arguments.
    """
    engine = argument_table.load(vllm_version)
    for name, value in given.items():
        yield _translate(engine, name, value)


def _translate(engine: EngineArguments, written: str, value: Any) -> Translation:
    known = arguments.known_names(engine) | policy().owned.keys() | engine.last_known.keys()
    name, value = canonical(written, value, known)
    if rule := policy().unsafe.get(name) or policy().owned.get(name):
        return Translation(written, "dropped", f"{rule.why} {rule.fix}" if rule.field else rule.why)
    if name in engine.arguments:
        return _supported(engine, written, name, value)
    if name in policy().sampling:
        return Translation(written, "dropped", "it is a parameter of each request: clients send it")
    if name in policy().server:
        return Translation(written, "dropped", "it is an option of vLLM's own HTTP server")
    if name in engine.last_known:
        return _renamed(engine, written, name, value)
    close = nearest(name, arguments.known_names(engine))
    hint = f"; did you mean {close}?" if close else ""
    return Translation(written, "dropped", f"vLLM {engine.version} does not support it{hint}")


def _supported(engine: EngineArguments, written: str, name: str, value: Any) -> Translation:
    argument = engine.arguments[name]
    right = value if has_valid_type(argument, value) else intended_value(argument, value)
    if right is None and value is not None:
        return Translation(written, "dropped", f"{abbreviated(value)} is not a valid value")
    if right is None:
        return Translation(written, "dropped", "null means vLLM's default, as does a missing field")
    same = written == name and type(right) is type(value)
    text = arguments.field_of(name) if same else f"{arguments.field_of(name)}: {yaml_line(right)}"
    return Translation(written, "kept" if same else "changed", text, {name: right})


def _renamed(engine: EngineArguments, written: str, name: str, value: Any) -> Translation:
    """A replacement that only sets the default is left out."""
    advice = renamed(engine, name)
    new = {key: item for key, item in advice.replacement(value).items() if key in engine.arguments}
    gone = f"vLLM {engine.last_known[name]} was the last version that supported it. {advice.why}"
    needed = {key: item for key, item in new.items() if engine.arguments[key].default != item}
    if not needed:
        return Translation(written, "dropped", gone)
    lines = ", ".join(f"{arguments.field_of(key)}: {yaml_line(item)}" for key, item in needed.items())
    return Translation(written, "changed", f"{lines}; {gone}", needed)
