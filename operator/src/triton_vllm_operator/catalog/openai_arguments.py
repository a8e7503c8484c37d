"""Checks the arguments of vLLM's OpenAI server in `spec.server.openAI.extraArgs`: a wrong one stops the server."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.catalog import argument_table, loader
from triton_vllm_operator.catalog.argument_table import Argument, JSONType
from triton_vllm_operator.catalog.argument_values import (
    MAX_DEPTH,
    abbreviated,
    choice_advice,
    has_valid_type,
    intended_value,
    is_too_deep,
    type_names,
    yaml_line,
)
from triton_vllm_operator.catalog.spelling import canonical, nearest
from triton_vllm_operator.catalog.versions import VLLMVersion
from triton_vllm_operator.catalog.violations import Violation, violation

FIELD = "spec.server.openAI.extraArgs"


@dataclass(frozen=True, slots=True)
class OpenAIArgument:
    """An argument; `field` sets an owned one instead, `warning` is given with an allowed one."""

    types: tuple[JSONType, ...]
    use: Literal["allowed", "owned", "rejected"]
    choices: tuple[str, ...] = ()
    why: str = ""
    field: str | None = None
    warning: str | None = None

    def argument(self, name: str) -> Argument:
        """In the form in which engine arguments are checked."""
        return Argument(name, self.types, self.choices)


@dataclass(frozen=True, slots=True)
class OpenAIArgumentTable:
    """data/openai_arguments.yaml."""

    __pydantic_config__: ClassVar[ConfigDict] = loader.CAMEL

    checked: date
    version: VLLMVersion
    arguments: dict[str, OpenAIArgument]


def table() -> OpenAIArgumentTable:
    """Every argument of the vLLM in the operator's own image."""
    return loader.load_yaml("openai_arguments.yaml", OpenAIArgumentTable)


@cache
def allowed() -> frozenset[str]:
    """Names of the arguments that a user may set."""
    return frozenset(name for name, argument in table().arguments.items() if argument.use == "allowed")


def check(
    given: Mapping[str, Any],
    engine_args: Mapping[str, Any],
    engine_advice: Callable[[str, Any], str | None] = lambda *_: None,
) -> list[Violation]:
    """Violations of each argument, in order.

    Args:
        given: spec.server.openAI.extraArgs.
        engine_args: spec.engine.extraArgs, on which some depend.
        engine_advice: returns what to do with an argument of the engine in the wrong place; None for any other name.
    """
    found = [one for name, value in given.items() for one in _check(name, value, engine_advice)]
    return found or list(_conflicts(given, engine_args))


def _check(name: str, value: Any, engine_advice: Callable[[str, Any], str | None]) -> Iterator[Violation]:
    if name not in table().arguments and (instead := engine_advice(name, value)) is not None:
        yield violation(f"{FIELD}.{name}", Reason.ARGUMENT_OF_ENGINE, name=name, instead=instead)
        return
    for step in (_is_too_deep, _unknown, _use, _type, _choice):
        if (found := step(name, value)) is not None:
            yield found
            return
    if warning := table().arguments[name].warning:
        yield violation(f"{FIELD}.{name}", Reason.ARGUMENT_RISKY, name=name, why=warning)


def _is_too_deep(name: str, value: Any) -> Violation | None:
    if not is_too_deep(value):
        return None
    return violation(f"{FIELD}.{name}", Reason.ARGUMENT_TOO_DEEP, name=name, maximum=MAX_DEPTH)


def _unknown(name: str, value: Any) -> Violation | None:
    known = table().arguments
    if name in known:
        return None
    right, new = canonical(name, value, frozenset(known))
    close = right if right in known else nearest(name, frozenset(known))
    # The name of an engine argument is not a misspelling.
    if name in argument_table.load(table().version).arguments or close is None or known[close].use != "allowed":
        return violation(f"{FIELD}.{name}", Reason.ARGUMENT_UNKNOWN, engine=_engine(), name=name)
    instead = f"{FIELD}.{close}: {yaml_line(new)}"
    return violation(f"{FIELD}.{name}", Reason.ARGUMENT_MISSPELT, engine=_engine(), name=name, instead=instead)


def _use(name: str, _: Any) -> Violation | None:
    entry = table().arguments[name]
    if entry.use == "allowed":
        return None
    instead = f"Set {entry.field} instead." if entry.field else f"Remove {FIELD}.{name}."
    reason = Reason.ARGUMENT_OWNED if entry.use == "owned" else Reason.ARGUMENT_UNSAFE
    return violation(f"{FIELD}.{name}", reason, name=name, why=entry.why, instead=instead)


def _type(name: str, value: Any) -> Violation | None:
    argument = table().arguments[name].argument(name)
    if has_valid_type(argument, value):
        return None
    better = intended_value(argument, value)
    field = f"{FIELD}.{name}"
    instead = f"Set {field}: {yaml_line(better)}." if better is not None else f"Correct or remove {field}."
    values = {"name": name, "type": type_names(argument), "given": abbreviated(value), "instead": instead}
    return violation(field, Reason.ARGUMENT_TYPE, **values)


def _choice(name: str, value: Any) -> Violation | None:
    choices = table().arguments[name].choices
    if not choices or value in choices:
        return None
    close = nearest(str(value), frozenset(choices))
    values = {"engine": _engine(), "name": name, "given": abbreviated(value), "choices": ", ".join(choices)}
    return violation(
        f"{FIELD}.{name}", Reason.ARGUMENT_CHOICE, **values, instead=choice_advice(f"{FIELD}.{name}", close)
    )


def _conflicts(given: Mapping[str, Any], engine_args: Mapping[str, Any]) -> Iterator[Violation]:
    """Arguments that vLLM's server accepts only together with another one."""
    needed: tuple[tuple[str, Callable[[], bool], str, str, str], ...] = (
        (
            "enable_auto_tool_choice",
            lambda: "tool_call_parser" in given,
            f"the missing {FIELD}.tool_call_parser",
            "without a parser the model's tool calls stay plain text",
            f"{FIELD}.tool_call_parser: hermes, or the parser of your model",
        ),
        (
            "enable_log_outputs",
            lambda: engine_args.get("enable_log_requests") is True,
            "the missing spec.engine.extraArgs.enable_log_requests",
            "outputs are logged only together with their requests",
            "spec.engine.extraArgs.enable_log_requests: true",
        ),
    )
    for name, met, other, why, instead in needed:
        if given.get(name) is True and not met():
            values = {"other": other, "why": why, "instead": instead}
            yield violation(f"{FIELD}.{name}", Reason.ARGUMENTS_CONTRADICT, **values)


def _engine() -> str:
    return f"vLLM's OpenAI server {table().version}"
