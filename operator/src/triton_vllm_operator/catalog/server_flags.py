"""Checks the tritonserver flags in `spec.server.extraArgs`: a wrong one stops the server before any model loads."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import ClassVar, Literal

from pydantic import ConfigDict

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.catalog import loader
from triton_vllm_operator.catalog.argument_values import abbreviated
from triton_vllm_operator.catalog.spelling import nearest
from triton_vllm_operator.catalog.versions import TritonRelease, parse_triton_release
from triton_vllm_operator.catalog.violations import Violation, violation

FIELD = "spec.server.extraArgs"

_VALUES = {
    "bool": (re.compile(r"^(true|false|1|0)$", re.IGNORECASE), "true or false"),
    "int": (re.compile(r"^-?\d+$"), "integer"),
    "float": (re.compile(r"^-?\d+(\.\d+)?$"), "number"),
    "str": (re.compile(r"^.+$"), "string"),
}


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag; `since` is the first Triton release with it; `starts_with` and `not_in`: what the value must be."""

    type: Literal["bool", "int", "float", "str", "none"]
    use: Literal["allowed", "owned", "rejected", "noEffect"]
    why: str = ""
    field: str | None = None
    since: TritonRelease | None = None
    choices: tuple[str, ...] = ()
    starts_with: str | None = None
    not_in: str | None = None
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class FlagTable:
    """data/server_flags.yaml."""

    __pydantic_config__: ClassVar[ConfigDict] = loader.CAMEL

    checked: date
    flags: dict[str, Flag]


@dataclass(frozen=True, slots=True)
class WrittenFlag:
    """A flag as the user wrote it in `field`; `value` is None without an equals sign."""

    field: str
    name: str
    value: str | None
    server_code: str


def flags() -> dict[str, Flag]:
    """Every flag by its name."""
    return loader.load_yaml("server_flags.yaml", FlagTable).flags


def check(extra_args: Sequence[str], server_code: str) -> list[Violation]:
    """Violations of each flag, in order. `server_code`: the YY.MM whose Triton server runs (`Release.server_code`)."""
    found: list[Violation] = []
    for index, text in enumerate(extra_args):
        name, equals, value = text.removeprefix("--").partition("=")
        flag = WrittenFlag(f"{FIELD}[{index}]", name, value if equals else None, server_code)
        found += _check(flag)
    return found


def _check(written: WrittenFlag) -> Iterator[Violation]:
    flag = flags().get(written.name)
    if flag is None:
        yield _unknown(written)
        return
    rejected = next((found for step in _CHAIN if (found := step(written, flag)) is not None), None)
    if rejected is not None:
        yield rejected
    elif flag.warning:
        yield violation(written.field, Reason.FLAG_RISKY, name=written.name, why=flag.warning)


def _unknown(written: WrittenFlag) -> Violation:
    close = nearest(written.name.replace("_", "-"), frozenset(flags()))
    if close is None:
        return violation(written.field, Reason.FLAG_UNKNOWN, name=written.name)
    instead = f"--{close}" + (f"={written.value}" if written.value is not None else "")
    return violation(written.field, Reason.FLAG_MISSPELT, name=written.name, instead=instead)


def _use(written: WrittenFlag, flag: Flag) -> Violation | None:
    instead = f"Set {flag.field} instead." if flag.field else "Remove it."
    reason = {"owned": Reason.FLAG_OWNED, "rejected": Reason.FLAG_REFUSED, "noEffect": Reason.FLAG_WITHOUT_EFFECT}
    if flag.use == "allowed":
        return None
    return violation(written.field, reason[flag.use], name=written.name, why=flag.why, instead=instead)


def _age(written: WrittenFlag, flag: Flag) -> Violation | None:
    if flag.since is None or parse_triton_release(flag.since) <= parse_triton_release(written.server_code):
        return None
    return violation(written.field, Reason.FLAG_TOO_NEW, name=written.name, since=flag.since, code=written.server_code)


def _value(written: WrittenFlag, flag: Flag) -> Violation | None:
    if flag.type == "none":
        return None
    pattern, name_of_type = _VALUES[flag.type]
    if (
        written.value is not None
        and pattern.match(written.value)
        and written.value in (flag.choices or (written.value,))
    ):
        return None
    wrong = "has no value" if not written.value else f"has the invalid value {abbreviated(written.value)}"
    expected = "|".join(flag.choices) if flag.choices else name_of_type
    return violation(written.field, Reason.FLAG_VALUE, name=written.name, wrong=wrong, type=expected)


def _content(written: WrittenFlag, flag: Flag) -> Violation | None:
    value = written.value or ""
    if flag.starts_with and not value.startswith(flag.starts_with):
        instead = f"Set --{written.name}={flag.starts_with}SETTING=VALUE, or remove it."
        return violation(written.field, Reason.FLAG_WITHOUT_EFFECT, name=written.name, why=flag.why, instead=instead)
    if flag.not_in and flag.not_in in re.split(r"[,:;]", value.partition("=")[0]):
        instead = f"Remove {flag.not_in} from it."
        return violation(written.field, Reason.FLAG_REFUSED, name=written.name, why=flag.why, instead=instead)
    return None


_CHAIN: tuple[Callable[[WrittenFlag, Flag], Violation | None], ...] = (_use, _age, _value, _content)
