"""Which engine arguments the operator sets, rejects or warns about: data/argument_policy.yaml."""

from dataclasses import dataclass
from datetime import date
from typing import Any, ClassVar

from pydantic import ConfigDict

from triton_vllm_operator.catalog import loader


@dataclass(frozen=True, slots=True)
class ArgumentRule:
    """Why an argument is not taken from the user, and the field of the spec that sets it, if there is one."""

    why: str
    field: str | None = None

    @property
    def fix(self) -> str:
        """What to do about it."""
        return f"Set {self.field} instead." if self.field else "Remove it."


@dataclass(frozen=True, slots=True)
class ValueWarning:
    """A value of an argument that is accepted with a warning."""

    argument: str
    value: Any
    why: str


@dataclass(frozen=True, slots=True)
class ArgumentPolicy:
    """The data file; its comments say what each list is for."""

    __pydantic_config__: ClassVar[ConfigDict] = loader.CAMEL

    checked: date
    owned: dict[str, ArgumentRule]
    unsafe: dict[str, ArgumentRule]
    unsafe_keys: dict[str, ArgumentRule]
    warned: dict[str, ArgumentRule]
    warned_values: tuple[ValueWarning, ...]
    closed: frozenset[str]
    server: frozenset[str]
    sampling: frozenset[str]


def policy() -> ArgumentPolicy:
    """The policy for engine arguments."""
    return loader.load_yaml("argument_policy.yaml", ArgumentPolicy)
