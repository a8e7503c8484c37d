"""Checks the engine arguments that a user wrote against the vLLM inside the image, before a GPU is held.

One argument passes an ordered chain of checks and the first that fails is its problem; contradictions between
arguments are looked for among those that passed.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar

from pydantic import ConfigDict
from pydantic.alias_generators import to_camel

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import EngineSpec
from triton_vllm_operator.catalog import argument_table, constraints, loader, openai_arguments, releases
from triton_vllm_operator.catalog.argument_table import Argument, Contract
from triton_vllm_operator.catalog.argument_values import (
    MAX_DEPTH,
    broken_bound,
    fits,
    kinds_in_words,
    line,
    meant,
    shown,
    too_deep,
)
from triton_vllm_operator.catalog.spelling import canonical, nearest
from triton_vllm_operator.catalog.versions import VLLMVersion
from triton_vllm_operator.catalog.violations import Problem, problem

EXTRA = "spec.engine.extraArgs"


@dataclass(frozen=True, slots=True)
class Rule:
    """Why an argument is not taken from the user, and the field that says it instead where there is one."""

    why: str
    field: str | None = None


@dataclass(frozen=True, slots=True)
class ValueRule:
    """A value that is taken with a warning."""

    argument: str
    value: Any
    why: str


@dataclass(frozen=True, slots=True)
class Rules:
    """data/rules.yaml."""

    __pydantic_config__: ClassVar[ConfigDict] = loader.CAMEL

    checked: Any
    owned: dict[str, Rule]
    unsafe: dict[str, Rule]
    unsafe_keys: dict[str, Rule]
    warned: dict[str, Rule]
    warned_values: tuple[ValueRule, ...]
    closed: frozenset[str]
    server: frozenset[str]
    sampling: frozenset[str]


@dataclass(frozen=True, slots=True)
class Move:
    """What became of an argument: data/moves.yaml."""

    argument: str
    why: str
    to: str | None = None
    negate: bool = False
    value: Any = None
    since: VLLMVersion | None = None

    def written(self, value: Any) -> dict[str, Any]:
        """The arguments to write instead of `value`; empty when nothing replaces the old one."""
        if self.to is None:
            return {}
        new = self.value if self.value is not None else (not value) if self.negate else value
        name, _, key = self.to.partition(".")
        return {name: {key: new}} if key else {name: new}


@dataclass(frozen=True, slots=True)
class Moves:
    checked: Any
    moves: tuple[Move, ...]


@cache
def rules() -> Rules:
    return loader.load_yaml("rules.yaml", Rules)


@cache
def moves() -> Moves:
    return loader.load_yaml("moves.yaml", Moves)


def typed_fields() -> dict[str, str]:
    """vLLM's name of every argument that has a field of its own -> that field."""
    names = (name for name in EngineSpec.model_fields if name != "extra_args")
    return {name: f"spec.engine.{to_camel(name)}" for name in names}


def check(extra: Mapping[str, Any], vllm_version: str, typed: Mapping[str, Any] | None = None) -> list[Problem]:
    """Problems with `spec.engine.extraArgs` and the typed fields of spec.engine, in the order in which they stand.

    `typed`: the typed fields that the user set, by vLLM's names. Raises KeyError for a version without a contract.
    """
    given = typed or {}
    version = argument_table.load(vllm_version)
    found = [problem for name, value in given.items() for problem in _check_typed(version, name, value)]
    found += [problem for name, value in extra.items() for problem in _check_extra(version, name, value)]
    refused = {problem.field for problem in found if problem.refuse}
    fields = typed_fields() | {name: f"{EXTRA}.{name}" for name in extra}
    merged = {name: value for name, value in {**given, **extra}.items() if fields.get(name) not in refused}
    return found + constraints.find(merged, version.version, fields)


def _check_typed(version: Contract, name: str, value: Any) -> Iterator[Problem]:
    """A typed field can hold a value that this engine does not take. (Every engine of the table has the argument.)"""
    where = typed_fields()[name]
    yield from _values(version, where, name, value)
    yield from _warnings(where, name, value)


def _check_extra(version: Contract, name: str, value: Any) -> Iterator[Problem]:
    for step in _CHAIN:
        found = step(version, name, value)
        if found is not None:
            yield found
            return
    yield from _values(version, f"{EXTRA}.{name}", name, value)
    yield from _warnings(f"{EXTRA}.{name}", name, value)


def known_names(version: Contract) -> frozenset[str]:
    """What this version takes, and every argument with a field of its own."""
    return frozenset(version.arguments) | frozenset(typed_fields())


def _spelling(version: Contract, name: str, value: Any) -> Problem | None:
    known = known_names(version) | rules().owned.keys() | rules().unsafe.keys() | version.last_known.keys()
    right, new = canonical(name, value, known)
    if right == name or right not in known:
        return None
    if right not in typed_fields():
        refused = next((found for step in _AFTER_SPELLING if (found := step(version, right, new)) is not None), None)
        if refused is not None:  # the right spelling would only be the next thing to be refused
            return replace(refused, field=f"{EXTRA}.{name}")
    return problem(f"{EXTRA}.{name}", Reason.ARGUMENT_SPELLING, name=name, instead=f"{place(right)}: {line(new)}")


def _too_deep(version: Contract, name: str, value: Any) -> Problem | None:
    if not too_deep(value):
        return None
    return problem(f"{EXTRA}.{name}", Reason.ARGUMENT_TOO_DEEP, name=name, most=MAX_DEPTH)


def _unsafe(version: Contract, name: str, value: Any) -> Problem | None:
    rule = rules().unsafe.get(name)
    if rule is not None:
        return problem(f"{EXTRA}.{name}", Reason.ARGUMENT_UNSAFE, name=name, why=rule.why, instead=_field_line(rule))
    for path in _paths(value):
        rule = rules().unsafe_keys.get(path[-1])
        if rule is not None:
            key = ".".join((name, *path))
            instead = f"Write {EXTRA}.{name} without {path[-1]}."
            return problem(f"{EXTRA}.{key}", Reason.ARGUMENT_UNSAFE, name=key, why=rule.why, instead=instead)
    return None


def _owned(version: Contract, name: str, value: Any) -> Problem | None:
    rule = rules().owned.get(name)
    if rule is None:
        return None
    return problem(f"{EXTRA}.{name}", Reason.ARGUMENT_OWNED, name=name, why=rule.why, instead=_field_line(rule))


def _has_field(version: Contract, name: str, value: Any) -> Problem | None:
    field = typed_fields().get(name)
    if field is None:
        return None
    return problem(f"{EXTRA}.{name}", Reason.ARGUMENT_HAS_FIELD, name=name, instead=f"{field}: {line(value)}")


def _not_of_engine(version: Contract, name: str, value: Any) -> Problem | None:
    if name in version.arguments:
        return None
    if name in rules().server or name in openai_arguments.entries().arguments:
        instead = f"Leave {EXTRA}.{name} out."
        if name in openai_arguments.free():
            instead = f"Write {openai_arguments.FIELD}.{name}: {line(value)}."
        return problem(f"{EXTRA}.{name}", Reason.ARGUMENT_OF_SERVER, name=name, instead=instead)
    if name in rules().sampling:
        return problem(f"{EXTRA}.{name}", Reason.ARGUMENT_OF_REQUEST, name=name)
    return None


def _removed(version: Contract, name: str, value: Any) -> Problem | None:
    last = version.removed(name)
    if last is None:
        return None
    advice = move(version, name)
    written = advice.written(value)
    usable = written if set(written) <= set(version.arguments) else {}
    instead = ", ".join(f"{place(new)}: {line(item)}" for new, item in usable.items())
    reason = Reason.ARGUMENT_MOVED if instead else Reason.ARGUMENT_REMOVED
    values = {"engine": _engine(version), "name": name, "last": last, "why": advice.why, "instead": instead}
    return problem(f"{EXTRA}.{name}", reason, **values)


def _too_new(version: Contract, name: str, value: Any) -> Problem | None:
    first = version.added(name)
    if first is None or name in version.last_known:
        return None
    release = next((row.release for row in reversed(releases.load().releases) if row.contract_version == first), None)
    values = {"engine": _engine(version), "name": name, "first": first}
    if release is None:
        return problem(f"{EXTRA}.{name}", Reason.ARGUMENT_TOO_NEW, **values)
    return problem(f"{EXTRA}.{name}", Reason.ARGUMENT_NEEDS_RELEASE, **values, release=release)


def _unknown(version: Contract, name: str, value: Any) -> Problem | None:
    if name in version.arguments:
        return None
    close = nearest(name, known_names(version))
    if close is None:
        return problem(f"{EXTRA}.{name}", Reason.ARGUMENT_UNKNOWN, engine=_engine(version), name=name)
    instead = f"{place(close)}: {line(value)}"
    return problem(f"{EXTRA}.{name}", Reason.ARGUMENT_MISSPELT, engine=_engine(version), name=name, instead=instead)


_AFTER_SPELLING: tuple[Callable[[Contract, str, Any], Problem | None], ...] = (
    _unsafe,
    _owned,
    _has_field,
    _not_of_engine,
    _removed,
    _too_new,
    _unknown,
)
_CHAIN = (_too_deep, _spelling, *_AFTER_SPELLING)


def _values(version: Contract, where: str, name: str, value: Any) -> Iterator[Problem]:
    argument = version.arguments[name]
    if not fits(argument, value):
        better = meant(argument, value)
        instead = f"Write {where}: {line(better)}." if better is not None else f"Correct {where}, or leave it out."
        values = {"name": name, "takes": kinds_in_words(argument), "given": shown(value), "instead": instead}
        yield problem(where, Reason.ARGUMENT_TYPE, **values)
    elif _is_closed(argument) and value not in (*argument.choices, None):
        yield _not_a_choice(version, where, name, value)
    elif (bound := broken_bound(argument.bounds, value)) is not None:
        yield problem(where, Reason.ARGUMENT_BOUND, name=name, bound=bound, given=shown(value))


def _is_closed(argument: Argument) -> bool:
    return bool(argument.choices) and (not argument.open or argument.name in rules().closed)


def _not_a_choice(version: Contract, where: str, name: str, value: Any) -> Problem:
    argument = version.arguments[name]
    choices = ", ".join(line(choice) for choice in argument.choices)
    close = nearest(str(value), frozenset(str(choice) for choice in argument.choices))
    first = line(argument.default) if argument.default is not None else line(argument.choices[0])
    values = {"engine": _engine(version), "name": name, "given": shown(value), "choices": choices}
    return problem(where, Reason.ARGUMENT_CHOICE, **values, instead=close or first)


def _warnings(where: str, name: str, value: Any) -> Iterator[Problem]:
    rule = rules().warned.get(name)
    if rule is not None and value not in (None, False):
        yield problem(where, Reason.ARGUMENT_RISKY, name=name, why=rule.why)
    for other in rules().warned_values:
        if other.argument == name and other.value == value:
            yield problem(where, Reason.ARGUMENT_RISKY, name=f"{name}: {line(value)}", why=other.why)


def move(version: Contract, name: str) -> Move:
    """What became of an argument that this version no longer takes: the newest advice that holds for it."""
    fitting = [
        one
        for one in moves().moves
        if one.argument == name and (one.since is None or not argument_table.newer(one.since, version.version))
    ]
    return fitting[-1]


def place(name: str) -> str:
    """The field of the custom resource for an argument."""
    return typed_fields().get(name, f"{EXTRA}.{name}")


def _field_line(rule: Rule) -> str:
    return f"Write {rule.field} instead." if rule.field else "Leave it out."


def _paths(value: Any) -> Iterator[tuple[str, ...]]:
    """Every key inside nested objects and lists, as a path of names. Not recursive: the depth is the user's."""
    left: list[tuple[tuple[str, ...], Any]] = [((), value)]
    while left:
        path, node = left.pop()
        if isinstance(node, Mapping):
            inner = [((*path, str(key)), item) for key, item in node.items()]
            yield from (deeper for deeper, _ in inner)
            left += inner
        elif isinstance(node, list):
            left += [(path, item) for item in node]


def _engine(version: Contract) -> str:
    """For example "vLLM 0.10.1.1 (release 25.09)"."""
    names = [row.release for row in releases.load().releases if row.contract_version == version.version]
    return f"vLLM {version.version}" + (f" (release {' and '.join(sorted(names))})" if names else "")
