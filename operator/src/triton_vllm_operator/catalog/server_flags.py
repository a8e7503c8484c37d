"""Checks `spec.server.extraArgs`, flags of tritonserver: a wrong one makes the server exit before any model loads."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.catalog import loader
from triton_vllm_operator.catalog.spelling import nearest
from triton_vllm_operator.catalog.versions import TritonRelease, parse_triton_release
from triton_vllm_operator.catalog.violations import Problem, problem

FIELD = "spec.server.extraArgs"

_VALUES = {
    "bool": (re.compile(r"^(true|false|1|0)$", re.IGNORECASE), "true or false"),
    "int": (re.compile(r"^-?\d+$"), "a whole number"),
    "float": (re.compile(r"^-?\d+(\.\d+)?$"), "a number"),
    "str": (re.compile(r"^.+$"), "text"),
}


@dataclass(frozen=True, slots=True)
class Flag:
    """`since`: first Triton release that has it. `starts_with`, `not_in`: what the value must or must not hold."""

    type: Literal["bool", "int", "float", "str", "none"]
    use: Literal["free", "owned", "refused", "noEffect"]
    why: str = ""
    field: str | None = None
    since: TritonRelease | None = None
    choices: tuple[str, ...] = ()
    starts_with: str | None = None
    not_in: str | None = None
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class Flags:
    """data/server_flags.yaml."""

    __pydantic_config__: ClassVar[ConfigDict] = loader.CAMEL

    checked: Any
    flags: dict[str, Flag]


@dataclass(frozen=True, slots=True)
class Given:
    """One flag as the user wrote it; `value` is None without an equals sign."""

    where: str
    name: str
    value: str | None
    server_code: str


@cache
def flags() -> dict[str, Flag]:
    return loader.load_yaml("server_flags.yaml", Flags).flags


def check(extra_args: Sequence[str], server_code: str) -> list[Problem]:
    """Problems with each flag, in order. `server_code`: the YY.MM whose Triton server runs (`Release.server_code`)."""
    found: list[Problem] = []
    for index, text in enumerate(extra_args):
        name, equals, value = text.removeprefix("--").partition("=")
        given = Given(f"{FIELD}[{index}]", name, value if equals else None, server_code)
        found += _check(given)
    return found


def _check(given: Given) -> Iterator[Problem]:
    flag = flags().get(given.name)
    if flag is None:
        yield _unknown(given)
        return
    refusal = next((found for step in _CHAIN if (found := step(given, flag)) is not None), None)
    if refusal is not None:
        yield refusal
    elif flag.warning:
        yield problem(given.where, Reason.FLAG_RISKY, name=given.name, why=flag.warning)


def _unknown(given: Given) -> Problem:
    close = nearest(given.name.replace("_", "-"), frozenset(flags()))
    if close is None:
        return problem(given.where, Reason.FLAG_UNKNOWN, name=given.name)
    instead = f"--{close}" + (f"={given.value}" if given.value is not None else "")
    return problem(given.where, Reason.FLAG_MISSPELT, name=given.name, instead=instead)


def _use(given: Given, flag: Flag) -> Problem | None:
    instead = f"Write {flag.field} instead." if flag.field else "Leave it out."
    reason = {"owned": Reason.FLAG_OWNED, "refused": Reason.FLAG_REFUSED, "noEffect": Reason.FLAG_WITHOUT_EFFECT}
    if flag.use == "free":
        return None
    return problem(given.where, reason[flag.use], name=given.name, why=flag.why, instead=instead)


def _age(given: Given, flag: Flag) -> Problem | None:
    if flag.since is None or parse_triton_release(flag.since) <= parse_triton_release(given.server_code):
        return None
    return problem(given.where, Reason.FLAG_TOO_NEW, name=given.name, since=flag.since, code=given.server_code)


def _value(given: Given, flag: Flag) -> Problem | None:
    if flag.type == "none":
        return None
    pattern, words = _VALUES[flag.type]
    if given.value is None or not pattern.match(given.value):
        return problem(given.where, Reason.FLAG_VALUE, name=given.name, takes=words)
    if flag.choices and given.value not in flag.choices:
        return problem(given.where, Reason.FLAG_VALUE, name=given.name, takes="one of " + ", ".join(flag.choices))
    return None


def _content(given: Given, flag: Flag) -> Problem | None:
    value = given.value or ""
    if flag.starts_with and not value.startswith(flag.starts_with):
        instead = f"Write --{given.name}={flag.starts_with}SETTING=VALUE, or leave it out."
        return problem(given.where, Reason.FLAG_WITHOUT_EFFECT, name=given.name, why=flag.why, instead=instead)
    if flag.not_in and flag.not_in in re.split(r"[,:;]", value.partition("=")[0]):
        instead = f"Leave {flag.not_in} out of it."
        return problem(given.where, Reason.FLAG_REFUSED, name=given.name, why=flag.why, instead=instead)
    return None


_CHAIN: tuple[Callable[[Given, Flag], Problem | None], ...] = (_use, _age, _value, _content)
