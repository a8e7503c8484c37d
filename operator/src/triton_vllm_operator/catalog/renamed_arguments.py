"""Engine arguments as a `model.json` has them, written for another version: what becomes of each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from triton_vllm_operator.catalog import argument_table, arguments
from triton_vllm_operator.catalog.argument_table import Contract
from triton_vllm_operator.catalog.argument_values import fits, line, meant, shown
from triton_vllm_operator.catalog.spelling import canonical, nearest

Outcome = Literal["kept", "changed", "dropped"]


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one argument, in words. `values`: what is written for it, by vLLM's names of today."""

    name: str
    outcome: Outcome
    text: str
    values: Mapping[str, Any] = field(default_factory=dict)


def translate(given: Mapping[str, Any], vllm_version: str) -> Iterator[Fate]:
    """The fate of each argument, in their order. Raises KeyError for a version without a contract."""
    version = argument_table.load(vllm_version)
    for name, value in given.items():
        yield _fate(version, name, value)


def _fate(version: Contract, written: str, value: Any) -> Fate:
    known = arguments.known_names(version) | arguments.rules().owned.keys() | version.last_known.keys()
    name, value = canonical(written, value, known)
    if rule := arguments.rules().unsafe.get(name) or arguments.rules().owned.get(name):
        instead = f" Write {rule.field}." if rule.field else ""
        return Fate(written, "dropped", f"{rule.why}{instead}")
    if name in version.arguments:
        return _taken(version, written, name, value)
    if name in arguments.rules().sampling:
        return Fate(written, "dropped", "it belongs to a request: clients send it")
    if name in arguments.rules().server:
        return Fate(written, "dropped", "it is an option of vLLM's own HTTP server")
    if name in version.last_known:
        return _moved(version, written, name, value)
    close = nearest(name, arguments.known_names(version))
    hint = f"; did you mean {close}?" if close else ""
    return Fate(written, "dropped", f"vLLM {version.version} does not know it{hint}")


def _taken(version: Contract, written: str, name: str, value: Any) -> Fate:
    argument = version.arguments[name]
    right = value if fits(argument, value) else meant(argument, value)
    if right is None and value is not None:
        return Fate(written, "dropped", f"{shown(value)} is no value for it")
    if right is None:
        return Fate(written, "dropped", "null means vLLM's own choice, as an absent field does")
    same = written == name and type(right) is type(value)
    text = arguments.place(name) if same else f"{arguments.place(name)}: {line(right)}"
    return Fate(written, "kept" if same else "changed", text, {name: right})


def _moved(version: Contract, written: str, name: str, value: Any) -> Fate:
    """A renamed argument whose new value is only the default is not written."""
    advice = arguments.move(version, name)
    new = {key: item for key, item in advice.written(value).items() if key in version.arguments}
    gone = f"vLLM {version.last_known[name]} was the last to take it. {advice.why}"
    wanted = {key: item for key, item in new.items() if version.arguments[key].default != item}
    if not wanted:
        return Fate(written, "dropped", gone)
    told = ", ".join(f"{arguments.place(key)}: {line(item)}" for key, item in wanted.items())
    return Fate(written, "changed", f"{told}; {gone}", wanted)
