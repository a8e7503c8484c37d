"""The engine arguments that each vLLM version supports: data/arguments.json, made by tools/engine_arguments."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict

from triton_vllm_operator.catalog import loader
from triton_vllm_operator.catalog.versions import VLLMVersion, parse_vllm_version

JSONType = Literal["bool", "int", "float", "str", "list", "object", "null", "any"]


@dataclass(frozen=True, slots=True)
class ArgumentForm:
    """What an argument was in the versions of `span`: the first and the last index into `ArgumentTable.versions`."""

    span: tuple[int, int]
    types: tuple[JSONType, ...]
    choices: tuple[Any, ...] = ()
    open: bool = False
    default: Any = None
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None


@dataclass(frozen=True, slots=True)
class MethodForm:
    """The compute capability that a quantization method needed in the versions of `span`, 75 for 7.5."""

    span: tuple[int, int]
    min_capability: int


@dataclass(frozen=True, slots=True)
class ArgumentTable:
    """The data file. `versions`: oldest first."""

    __pydantic_config__: ClassVar[ConfigDict] = loader.CAMEL

    about: str
    versions: tuple[VLLMVersion, ...]
    arguments: dict[str, tuple[ArgumentForm, ...]]
    quantization: dict[str, tuple[MethodForm, ...]]


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of one version.

    Attributes:
        name: as in vLLM's Python API.
        types: JSON types of its values.
        choices: valid values, () for any.
        open: whether other strings than the choices are valid too.
        default: None also where the engine computes one.
        bounds: limits by "ge", "gt", "le" and "lt".
    """

    name: str
    types: tuple[JSONType, ...]
    choices: tuple[Any, ...] = ()
    open: bool = False
    default: Any = None
    bounds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EngineArguments:
    """The arguments of one vLLM version; and of others, the last version before it and the first after it."""

    version: str
    arguments: Mapping[str, Argument]
    last_known: Mapping[str, str]
    first_known: Mapping[str, str]

    def removed(self, name: str) -> str | None:
        """The last version that supported an argument which this one no longer supports."""
        return self.last_known.get(name) if name not in self.arguments else None

    def added(self, name: str) -> str | None:
        """The first version that supports an argument which this one does not support yet."""
        return self.first_known.get(name) if name not in self.arguments else None


def versions() -> list[str]:
    """Every version in the table, oldest first."""
    return list(_table().versions)


def known_version(version: str) -> str:
    """The newest version of the table that is not newer than a vLLM version; else the oldest."""
    wanted = parse_vllm_version(version)
    known = versions()
    return next((one for one in reversed(known) if parse_vllm_version(one) <= wanted), known[0])


@cache
def load(version: str) -> EngineArguments:
    """The arguments of a version. Raises KeyError for one that is not in the table: see `versions`."""
    known_versions = _table().versions
    if version not in known_versions:
        raise KeyError(f"vLLM {version} is not in the table of arguments; it has {', '.join(known_versions)}")
    index = known_versions.index(version)
    arguments: dict[str, Argument] = {}
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    for name, forms in _table().arguments.items():
        for form in forms:
            first, last = form.span
            if first <= index <= last:
                arguments[name] = _argument(name, form)
            elif last < index:
                before[name] = known_versions[last]
            else:
                after.setdefault(name, known_versions[first])
    return EngineArguments(version, arguments, before, after)


def minimum_capabilities(method: str) -> list[tuple[str, int | None]]:
    """(first version, compute capability that a quantization method needs from it on), 75 for 7.5; None: unknown.

    Empty for a method that names a compute capability in no version.
    """
    forms = _table().quantization.get(method, ())
    if not forms:
        return []
    spans = [(form.span, form.min_capability) for form in forms]
    by_version = [next((least for (a, b), least in spans if a <= at <= b), None) for at in range(len(versions()))]
    pairs = list(zip(versions(), by_version, strict=True))
    changed = [True, *(one != before for before, one in itertools.pairwise(by_version))]
    return [pair for pair, new in zip(pairs, changed, strict=True) if new]


def newer(version: str, than: str) -> bool:
    """Whether one vLLM version comes after another."""
    return parse_vllm_version(version) > parse_vllm_version(than)


def _argument(name: str, form: ArgumentForm) -> Argument:
    limits = {"ge": form.ge, "gt": form.gt, "le": form.le, "lt": form.lt}
    bounds = {key: limit for key, limit in limits.items() if limit is not None}
    return Argument(name, form.types, form.choices, form.open, form.default, bounds)


def _table() -> ArgumentTable:
    return loader.load_json("arguments.json", ArgumentTable)
