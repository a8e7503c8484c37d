"""Checks the engine arguments of a spec against the vLLM inside the image, before a GPU is held.

Each argument passes an ordered chain of checks, of which the first that fails gives its violation; conflicts between
arguments are searched for among those that passed.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from pydantic.alias_generators import to_camel

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import EngineSpec
from triton_vllm_operator.catalog import argument_table, constraints, nested_arguments, openai_arguments, releases
from triton_vllm_operator.catalog.argument_policy import policy
from triton_vllm_operator.catalog.argument_table import Argument, EngineArguments
from triton_vllm_operator.catalog.argument_values import (
    MAX_DEPTH,
    abbreviated,
    choice_advice,
    has_valid_type,
    intended_value,
    is_too_deep,
    type_names,
    violated_bound,
    yaml_line,
)
from triton_vllm_operator.catalog.renamed_arguments import renamed
from triton_vllm_operator.catalog.spelling import canonical, nearest
from triton_vllm_operator.catalog.violations import Violation, violation

EXTRA = "spec.engine.extraArgs"


def typed_fields() -> dict[str, str]:
    """vLLM's name of every argument with its own field in the spec -> that field."""
    names = (name for name in EngineSpec.model_fields if name != "extra_args")
    return {name: f"spec.engine.{to_camel(name)}" for name in names}


def field_of(name: str) -> str:
    """The field of the spec that sets an argument."""
    return typed_fields().get(name, f"{EXTRA}.{name}")


def check(extra: Mapping[str, Any], vllm_version: str, typed: Mapping[str, Any] | None = None) -> list[Violation]:
    """Violations in `spec.engine.extraArgs` and in the typed fields of spec.engine, in their order.

    Args:
        extra: the extraArgs.
        vllm_version: a version of the argument table.
        typed: the typed fields that the user set, by vLLM's names.

    Raises:
        KeyError: for a version that is not in the table of arguments.
    """
    given = typed or {}
    engine = argument_table.load(vllm_version)
    found = [one for name, value in given.items() for one in _check_typed(engine, name, value)]
    found += [one for name, value in extra.items() for one in _check_extra(engine, name, value)]
    rejected = {one.field for one in found if one.rejects}
    fields = typed_fields() | {name: f"{EXTRA}.{name}" for name in extra}
    merged = {name: value for name, value in {**given, **extra}.items() if fields.get(name) not in rejected}
    return found + constraints.check(merged, engine.version, fields)


def advice(name: str, value: Any, vllm_version: str) -> str | None:
    """What to do with an argument that was given to vLLM's server; None if no vLLM's engine has one of this name.

    Where the engine does not accept it either, the advice is to remove it.

    Raises:
        KeyError: for a version that is not in the table of arguments.
    """
    engine = argument_table.load(vllm_version)
    known = known_names(engine) | policy().owned.keys() | policy().unsafe.keys() | engine.last_known.keys()
    right, new = canonical(name, value, known)
    if right not in known:
        return None
    if right in typed_fields():
        accepted = not any(one.rejects for one in _check_typed(engine, right, new))
    else:
        accepted = not any(one.rejects for one in _check_extra(engine, right, new))
    rule = policy().owned.get(right)
    if rule is not None and rule.field:
        return rule.fix
    return (
        f"Set {field_of(right)}: {yaml_line(new)}." if accepted else "Remove it: the engine does not accept it either."
    )


def _check_typed(engine: EngineArguments, name: str, value: Any) -> Iterator[Violation]:
    """A typed field can have a value that this engine does not take. (Every engine of the table has the argument.)"""
    field = typed_fields()[name]
    yield from _check_value(engine, field, name, value)
    yield from _warnings(field, name, value)


def _check_extra(engine: EngineArguments, name: str, value: Any) -> Iterator[Violation]:
    for step in _CHAIN:
        found = step(engine, name, value)
        if found is not None:
            yield found
            return
    yield from _check_value(engine, f"{EXTRA}.{name}", name, value)
    yield from _warnings(f"{EXTRA}.{name}", name, value)


def known_names(engine: EngineArguments) -> frozenset[str]:
    """The arguments of this version, and every argument with its own field in the spec."""
    return frozenset(engine.arguments) | frozenset(typed_fields())


def _spelling(engine: EngineArguments, name: str, value: Any) -> Violation | None:
    known = known_names(engine) | policy().owned.keys() | policy().unsafe.keys() | engine.last_known.keys()
    right, new = canonical(name, value, known)
    if right == name or right not in known:
        return None
    if right not in typed_fields():
        rejected = next((found for step in _AFTER_SPELLING if (found := step(engine, right, new)) is not None), None)
        if rejected is not None:  # the right spelling would only be rejected next
            return replace(rejected, field=f"{EXTRA}.{name}")
    instead = f"{field_of(right)}: {yaml_line(new)}"
    return violation(f"{EXTRA}.{name}", Reason.ARGUMENT_SPELLING, name=name, instead=instead)


def _too_deep(_: EngineArguments, name: str, value: Any) -> Violation | None:
    if not is_too_deep(value):
        return None
    return violation(f"{EXTRA}.{name}", Reason.ARGUMENT_TOO_DEEP, name=name, maximum=MAX_DEPTH)


def _unsafe(_: EngineArguments, name: str, value: Any) -> Violation | None:
    rule = policy().unsafe.get(name)
    if rule is not None:
        return violation(f"{EXTRA}.{name}", Reason.ARGUMENT_UNSAFE, name=name, why=rule.why, instead=rule.fix)
    for path in _paths(value):
        rule = policy().unsafe_keys.get(path[-1]) or policy().unsafe.get(path[-1])
        if rule is not None:
            key = ".".join((name, *path))
            instead = f"Remove {path[-1]} from {EXTRA}.{name}."
            return violation(f"{EXTRA}.{key}", Reason.ARGUMENT_UNSAFE, name=key, why=rule.why, instead=instead)
    return None


def _owned(_: EngineArguments, name: str, value: Any) -> Violation | None:
    rule = policy().owned.get(name)
    if rule is None:
        return None
    return violation(f"{EXTRA}.{name}", Reason.ARGUMENT_OWNED, name=name, why=rule.why, instead=rule.fix)


def _has_field(_: EngineArguments, name: str, value: Any) -> Violation | None:
    field = typed_fields().get(name)
    if field is None:
        return None
    return violation(f"{EXTRA}.{name}", Reason.ARGUMENT_HAS_FIELD, name=name, instead=f"{field}: {yaml_line(value)}")


def _not_of_engine(engine: EngineArguments, name: str, value: Any) -> Violation | None:
    if name in engine.arguments:
        return None
    if name in policy().server or name in openai_arguments.table().arguments:
        instead = f"Remove {EXTRA}.{name}."
        if name in openai_arguments.allowed():
            instead = f"Set {openai_arguments.FIELD}.{name}: {yaml_line(value)}."
        return violation(f"{EXTRA}.{name}", Reason.ARGUMENT_OF_SERVER, name=name, instead=instead)
    if name in policy().sampling:
        return violation(f"{EXTRA}.{name}", Reason.ARGUMENT_OF_REQUEST, name=name)
    return None


def _removed(engine: EngineArguments, name: str, value: Any) -> Violation | None:
    last = engine.removed(name)
    if last is None:
        return None
    advice = renamed(engine, name)
    replacement = advice.replacement(value)
    usable = replacement if set(replacement) <= set(engine.arguments) else {}
    instead = ", ".join(f"{field_of(new)}: {yaml_line(item)}" for new, item in usable.items())
    reason = Reason.ARGUMENT_MOVED if instead else Reason.ARGUMENT_REMOVED
    values = {"engine": _engine_name(engine), "name": name, "last": last, "why": advice.why, "instead": instead}
    return violation(f"{EXTRA}.{name}", reason, **values)


def _too_new(engine: EngineArguments, name: str, value: Any) -> Violation | None:
    first = engine.added(name)
    if first is None or name in engine.last_known:
        return None
    release = next((row.release for row in reversed(releases.load().releases) if row.arguments_version == first), None)
    values = {"engine": _engine_name(engine), "name": name, "first": first}
    if release is None:
        return violation(f"{EXTRA}.{name}", Reason.ARGUMENT_TOO_NEW, **values)
    return violation(f"{EXTRA}.{name}", Reason.ARGUMENT_NEEDS_RELEASE, **values, release=release)


def _unknown(engine: EngineArguments, name: str, value: Any) -> Violation | None:
    if name in engine.arguments:
        return None
    close = nearest(name, known_names(engine))
    if close is None:
        return violation(f"{EXTRA}.{name}", Reason.ARGUMENT_UNKNOWN, engine=_engine_name(engine), name=name)
    instead = f"{field_of(close)}: {yaml_line(value)}"
    values = {"engine": _engine_name(engine), "name": name, "instead": instead}
    return violation(f"{EXTRA}.{name}", Reason.ARGUMENT_MISSPELT, **values)


_AFTER_SPELLING: tuple[Callable[[EngineArguments, str, Any], Violation | None], ...] = (
    _unsafe,
    _owned,
    _has_field,
    _not_of_engine,
    _removed,
    _too_new,
    _unknown,
)
_CHAIN = (_too_deep, _spelling, *_AFTER_SPELLING)


def _check_value(engine: EngineArguments, field: str, name: str, value: Any) -> Iterator[Violation]:
    argument = engine.arguments[name]
    if not has_valid_type(argument, value):
        better = intended_value(argument, value)
        instead = f"Set {field}: {yaml_line(better)}." if better is not None else f"Correct or remove {field}."
        values = {"name": name, "type": type_names(argument), "given": abbreviated(value), "instead": instead}
        yield violation(field, Reason.ARGUMENT_TYPE, **values)
    elif _is_closed(argument) and value not in (*argument.choices, None):
        yield _not_a_choice(engine, field, name, value)
    elif (bound := violated_bound(argument.bounds, value)) is not None:
        yield violation(field, Reason.ARGUMENT_BOUND, name=name, bound=bound, given=abbreviated(value))
    else:
        yield from nested_arguments.check(name, value, field, engine.version, _engine_name(engine))


def _is_closed(argument: Argument) -> bool:
    return bool(argument.choices) and (not argument.open or argument.name in policy().closed)


def _not_a_choice(engine: EngineArguments, field: str, name: str, value: Any) -> Violation:
    argument = engine.arguments[name]
    choices = ", ".join(yaml_line(choice) for choice in argument.choices)
    close = nearest(str(value), frozenset(str(choice) for choice in argument.choices))
    values = {"engine": _engine_name(engine), "name": name, "given": abbreviated(value), "choices": choices}
    return violation(field, Reason.ARGUMENT_CHOICE, **values, instead=choice_advice(field, close))


def _warnings(field: str, name: str, value: Any) -> Iterator[Violation]:
    rule = policy().warned.get(name)
    if rule is not None and value not in (None, False):
        yield violation(field, Reason.ARGUMENT_RISKY, name=name, why=rule.why)
    for warned in policy().warned_values:
        if warned.argument == name and warned.value == value:
            yield violation(field, Reason.ARGUMENT_RISKY, name=f"{name}: {yaml_line(value)}", why=warned.why)


def _paths(value: Any) -> Iterator[tuple[str, ...]]:
    """Every key inside nested objects and lists, as a path of names. Not recursive: the user chooses the depth."""
    left: list[tuple[tuple[str, ...], Any]] = [((), value)]
    while left:
        path, node = left.pop()
        if isinstance(node, Mapping):
            inner = [((*path, str(key)), item) for key, item in node.items()]
            yield from (deeper for deeper, _ in inner)
            left += inner
        elif isinstance(node, list):
            left += [(path, item) for item in node]


def _engine_name(engine: EngineArguments) -> str:
    """For example "vLLM 0.10.1.1 (release 25.09)"."""
    names = [row.release for row in releases.load().releases if row.arguments_version == engine.version]
    return f"vLLM {engine.version}" + (f" (release {' and '.join(sorted(names))})" if names else "")
