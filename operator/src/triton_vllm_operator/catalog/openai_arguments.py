"""Checks `spec.server.openAI.extraArgs`, arguments of vLLM's OpenAI server: a wrong one ends the start of the model."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.catalog import argument_table, loader
from triton_vllm_operator.catalog.argument_table import Argument
from triton_vllm_operator.catalog.argument_values import MAX_DEPTH, fits, kinds_in_words, line, meant, shown, too_deep
from triton_vllm_operator.catalog.spelling import canonical, nearest
from triton_vllm_operator.catalog.versions import VLLMVersion
from triton_vllm_operator.catalog.violations import Problem, problem

FIELD = "spec.server.openAI.extraArgs"


@dataclass(frozen=True, slots=True)
class Entry:
    """One argument; `field` says an owned one instead, `warning` goes with a free one."""

    types: tuple[str, ...]
    use: Literal["free", "owned", "refused"]
    choices: tuple[str, ...] = ()
    why: str = ""
    field: str | None = None
    warning: str | None = None

    def argument(self, name: str) -> Argument:
        """In the form in which engine arguments are checked."""
        return Argument(name, self.types, self.choices, False, None, {})


@dataclass(frozen=True, slots=True)
class Entries:
    """data/openai_arguments.yaml."""

    __pydantic_config__: ClassVar[ConfigDict] = loader.CAMEL

    checked: Any
    version: VLLMVersion
    arguments: dict[str, Entry]


@cache
def entries() -> Entries:
    return loader.load_yaml("openai_arguments.yaml", Entries)


def free() -> frozenset[str]:
    """Names that are taken."""
    return frozenset(name for name, entry in entries().arguments.items() if entry.use == "free")


def check(given: Mapping[str, Any], engine_args: Mapping[str, Any]) -> list[Problem]:
    """Problems with each argument, in order. `engine_args`: spec.engine.extraArgs, on which some depend."""
    found = [one for name, value in given.items() for one in _check(name, value)]
    return found or list(_contradictions(given, engine_args))


def _check(name: str, value: Any) -> Iterator[Problem]:
    for step in (_too_deep, _unknown, _use, _type, _choice):
        if (found := step(name, value)) is not None:
            yield found
            return
    if warning := entries().arguments[name].warning:
        yield problem(f"{FIELD}.{name}", Reason.ARGUMENT_RISKY, name=name, why=warning)


def _too_deep(name: str, value: Any) -> Problem | None:
    if not too_deep(value):
        return None
    return problem(f"{FIELD}.{name}", Reason.ARGUMENT_TOO_DEEP, name=name, most=MAX_DEPTH)


def _unknown(name: str, value: Any) -> Problem | None:
    known = entries().arguments
    if name in known:
        return None
    right, new = canonical(name, value, frozenset(known))
    close = right if right in known else nearest(name, frozenset(known))
    # An argument of the engine is no slip of the pen.
    if name in argument_table.load(entries().version).arguments or close is None or known[close].use != "free":
        return problem(f"{FIELD}.{name}", Reason.ARGUMENT_UNKNOWN, engine=_engine(), name=name)
    instead = f"{FIELD}.{close}: {line(new)}"
    return problem(f"{FIELD}.{name}", Reason.ARGUMENT_MISSPELT, engine=_engine(), name=name, instead=instead)


def _use(name: str, _: Any) -> Problem | None:
    entry = entries().arguments[name]
    if entry.use == "free":
        return None
    instead = f"Write {entry.field} instead." if entry.field else f"Leave {FIELD}.{name} out."
    reason = Reason.ARGUMENT_OWNED if entry.use == "owned" else Reason.ARGUMENT_UNSAFE
    return problem(f"{FIELD}.{name}", reason, name=name, why=entry.why, instead=instead)


def _type(name: str, value: Any) -> Problem | None:
    argument = entries().arguments[name].argument(name)
    if fits(argument, value):
        return None
    better = meant(argument, value)
    where = f"{FIELD}.{name}"
    instead = f"Write {where}: {line(better)}." if better is not None else f"Correct {where}, or leave it out."
    values = {"name": name, "takes": kinds_in_words(argument), "given": shown(value), "instead": instead}
    return problem(where, Reason.ARGUMENT_TYPE, **values)


def _choice(name: str, value: Any) -> Problem | None:
    choices = entries().arguments[name].choices
    if not choices or value in choices:
        return None
    close = nearest(str(value), frozenset(choices)) or choices[0]
    values = {"engine": _engine(), "name": name, "given": shown(value), "choices": ", ".join(choices)}
    return problem(f"{FIELD}.{name}", Reason.ARGUMENT_CHOICE, **values, instead=close)


def _contradictions(given: Mapping[str, Any], engine_args: Mapping[str, Any]) -> Iterator[Problem]:
    """What vLLM's server refuses together."""
    needed: tuple[tuple[str, Callable[[], bool], str, str, str], ...] = (
        (
            "enable_auto_tool_choice",
            lambda: "tool_call_parser" in given,
            f"{FIELD}.tool_call_parser",
            "that is missing, and without a parser the model's calls are only text",
            f"{FIELD}.tool_call_parser: hermes, or the parser of your model",
        ),
        (
            "enable_log_outputs",
            lambda: engine_args.get("enable_log_requests") is True,
            "spec.engine.extraArgs.enable_log_requests",
            "that is missing, and answers are logged beside their requests",
            "spec.engine.extraArgs.enable_log_requests: true",
        ),
    )
    for name, met, other, why, instead in needed:
        if given.get(name) is True and not met():
            values = {"other": other, "why": why, "instead": instead}
            yield problem(f"{FIELD}.{name}", Reason.ARGUMENTS_CONTRADICT, **values)


def _engine() -> str:
    return f"vLLM's OpenAI server {entries().version}"
