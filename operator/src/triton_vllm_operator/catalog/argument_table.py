"""The engine arguments that each vLLM version takes. Facts: data/arguments.json, made by `python -m tools.contract`."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from triton_vllm_operator.catalog import loader
from triton_vllm_operator.catalog.versions import vllm_key


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of one version.

    `types`: JSON kinds among bool, int, float, str, list, object, null, any. `choices`: the values it takes, () for
    any; `open`: other text than the choices is taken too. `bounds`: of ge, gt, le, lt. `default` is None also where
    the engine computes one.
    """

    name: str
    types: tuple[str, ...]
    choices: tuple[Any, ...]
    open: bool
    default: Any
    bounds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Contract:
    """All arguments of one version, and the versions before and after which others were known."""

    version: str
    arguments: Mapping[str, Argument]
    last_known: Mapping[str, str]
    first_known: Mapping[str, str]

    def removed(self, name: str) -> str | None:
        """The last version that took an argument which this one no longer takes."""
        return self.last_known.get(name) if name not in self.arguments else None

    def added(self, name: str) -> str | None:
        """The first version that takes an argument which this one does not take yet."""
        return self.first_known.get(name) if name not in self.arguments else None


def versions() -> list[str]:
    """Every version in the table, oldest first."""
    return list(_table()["versions"])


def known(version: str) -> bool:
    return version in versions()


@cache
def load(version: str) -> Contract:
    """Raises KeyError for a version that is not in the table: see `versions`."""
    known_versions = versions()
    if version not in known_versions:
        raise KeyError(f"no contract for vLLM {version}; there is one for {', '.join(known_versions)}")
    index = known_versions.index(version)
    arguments: dict[str, Argument] = {}
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    for name, forms in _table()["arguments"].items():
        for form in forms:
            first, last = form["span"]
            if first <= index <= last:
                arguments[name] = _argument(name, form)
            elif last < index:
                before[name] = known_versions[last]
            else:
                after.setdefault(name, known_versions[first])
    return Contract(version, arguments, before, after)


def least_capabilities(method: str) -> list[tuple[str, int | None]]:
    """(first version, compute capability that the method needs from it on), 75 for 7.5; None: it names none."""
    spans = [(form["span"], form["minCapability"]) for form in _table()["quantization"][method]]
    by_version = [next((least for (a, b), least in spans if a <= at <= b), None) for at in range(len(versions()))]
    pairs = list(zip(versions(), by_version, strict=True))
    changed = [True, *(one != before for before, one in itertools.pairwise(by_version))]
    return [pair for pair, new in zip(pairs, changed, strict=True) if new]


def methods() -> list[str]:
    """Every quantization method of the table that names a compute capability in some version."""
    return sorted(_table()["quantization"])


def newer(version: str, than: str) -> bool:
    return vllm_key(version) > vllm_key(than)


def _argument(name: str, form: Mapping[str, Any]) -> Argument:
    bounds = {key: form[key] for key in ("ge", "gt", "le", "lt") if key in form}
    choices = tuple(form.get("choices", ()))
    return Argument(name, tuple(form["types"]), choices, form.get("open", False), form.get("default"), bounds)


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = loader.read_json("arguments.json")
    return table
