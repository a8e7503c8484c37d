"""Checked reads from untrusted JSON: every value has a type and a range, every structure a bounded size.

`config.json` and safetensors headers come from whoever wrote the model repository. Nothing here trusts them:
a number outside its range, a wrong type, nesting beyond `MAX_DEPTH` or more than `MAX_NODES` values is a
`ShapeError`, raised in time proportional to what was read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.capacity.errors import ShapeError

MAX_DEPTH = 32
MAX_NODES = 200_000
MAX_TEXT_BYTES = 16 * 1024 * 1024
#: Largest dimension a model may declare. 2**31 keeps every product of a few of them cheap to compute.
MAX_DIMENSION = 2**31
MAX_LAYERS = 4096
_LFS_POINTER = b"version https://git-lfs"
"""The beginning of a Git LFS pointer: three lines of text in place of a file that was not downloaded."""


def lfs_problem(beginning: bytes, what: str) -> str:
    """Return what is wrong and what to do if the first bytes (8 or more) are those of a Git LFS pointer, else ""."""
    if len(beginning) < 8 or not beginning.startswith(_LFS_POINTER[: len(beginning)]):
        return ""
    return f"{what} is a Git LFS pointer, not the file itself; run `git lfs pull` and copy the model again"


def parse_json_object(text: str | bytes, what: str) -> dict[str, Any]:
    """Parse `text` as one JSON object within the size, depth and number limits of this module."""
    if len(text) > MAX_TEXT_BYTES:
        raise ShapeError(Reason.CONFIG_TOO_LARGE, f"{what} has {len(text)} bytes; at most {MAX_TEXT_BYTES} are read")
    try:
        value = json.loads(text, parse_int=_bounded_int, parse_constant=_no_constant)
    except RecursionError:
        raise ShapeError(Reason.CONFIG_TOO_DEEP, f"{what} is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        if isinstance(error, ShapeError):
            raise
        pointer = lfs_problem(text.encode(errors="replace") if isinstance(text, str) else text, what)
        raise ShapeError(Reason.CONFIG_NOT_JSON, pointer or f"{what} is not valid JSON: {str(error)[:200]}") from None
    if not isinstance(value, dict):
        raise ShapeError(Reason.CONFIG_NOT_JSON, f"{what} must be a JSON object, not {type(value).__name__}")
    check_size(value, what)
    return value


def check_size(value: object, what: str) -> None:
    """Refuse a value that is nested too deep or holds too many nodes. Iterative, so depth costs no stack."""
    todo: list[tuple[object, int]] = [(value, 0)]
    seen = 0
    while todo:
        node, depth = todo.pop()
        seen += 1
        if depth > MAX_DEPTH:
            raise ShapeError(Reason.CONFIG_TOO_DEEP, f"{what} is nested deeper than {MAX_DEPTH} levels")
        if seen > MAX_NODES:
            raise ShapeError(Reason.CONFIG_TOO_LARGE, f"{what} holds more than {MAX_NODES} values")
        if isinstance(node, Mapping):
            todo.extend((child, depth + 1) for child in node.values())
        elif isinstance(node, list | tuple):
            todo.extend((child, depth + 1) for child in node)


def _bounded_int(digits: str) -> int:
    if len(digits) > 19:
        raise ShapeError(Reason.CONFIG_NUMBER_TOO_LARGE, f"a number of {len(digits)} digits is not a model dimension")
    return int(digits)


def _no_constant(name: str) -> float:
    raise ShapeError(Reason.CONFIG_NOT_JSON, f"{name} is not a JSON number")


class Reader:
    """Typed reads from one JSON object, with the object's name in every message."""

    __slots__ = ("_object", "_what")

    def __init__(self, value: Mapping[str, Any], what: str = "config.json") -> None:
        self._object = value
        self._what = what

    def has(self, key: str) -> bool:
        """Whether the key is there with a value other than null."""
        return self._object.get(key) is not None

    def with_defaults(self, defaults: Mapping[str, Any]) -> Reader:
        """Return a reader that has these values for keys that are absent; null is a value."""
        return Reader({**defaults, **self._object}, self._what)

    def is_list(self, key: str) -> bool:
        """Whether the field is a list."""
        return isinstance(self._object.get(key), list | tuple)

    def is_object(self, key: str) -> bool:
        """Return whether the value is an object."""
        return isinstance(self._object.get(key), Mapping)

    def raw(self, key: str) -> Any:
        """The value as it was read, or None."""
        return self._object.get(key)

    def names(self) -> tuple[str, ...]:
        """The names of the object, in order."""
        return tuple(self._object)

    def first(self, *keys: str) -> str | None:
        """The first of `keys` that has a value."""
        return next((key for key in keys if self.has(key)), None)

    def integer(self, key: str, default: int | None = None, *, low: int = 1, high: int = MAX_DIMENSION) -> int:
        """A whole number in [low, high]; `default` when the key is absent or null."""
        value = self._object.get(key)
        if value is None:
            if default is None:
                raise ShapeError(Reason.CONFIG_FIELD_MISSING, f"{self._what} has no {key!r}, which the planner needs")
            return default
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, list) and value:
            raise ShapeError(
                Reason.CONFIG_FIELD_PER_LAYER,
                f"{self._what}: {key} is a list of {len(value)} values, one per layer, where the planner reads one "
                "number for all layers; set the fields of spec.engine yourself",
            )
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(key, "a whole number", value)
        if not low <= value <= high:
            raise ShapeError(Reason.CONFIG_FIELD_OUT_OF_RANGE, f"{self._what}: {key} is {value}, outside {low}..{high}")
        return value

    def largest(self, key: str, *, low: int = 1, high: int = MAX_DIMENSION) -> int:
        """A whole number in [low, high]; of a list of them the largest."""
        if isinstance(self._object.get(key), list | tuple):
            return max(self.integers(key, low=low, high=high), default=low)
        return self.integer(key, low=low, high=high)

    def optional_integer(self, key: str, *, low: int = 1, high: int = MAX_DIMENSION) -> int | None:
        """A whole number in [low, high], or None when absent."""
        return self.integer(key, low=low, high=high) if self.has(key) else None

    def number(self, key: str, default: float, *, low: float = 0.0, high: float = 1e9) -> float:
        """A number in [low, high]; `default` when absent."""
        value = self._object.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(key, "a number", value)
        if not low <= value <= high:
            raise ShapeError(Reason.CONFIG_FIELD_OUT_OF_RANGE, f"{self._what}: {key} is {value}, outside {low}..{high}")
        return float(value)

    def boolean(self, key: str, default: bool) -> bool:
        """True or false; `default` when absent."""
        value = self._object.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false", value)
        return value

    def text(self, key: str, default: str = "") -> str:
        """A short string; `default` when absent."""
        value = self._object.get(key)
        if value is None:
            return default
        if not isinstance(value, str) or len(value) > 512:
            raise self._wrong(key, "a short string", value)
        return value

    def nested(self, key: str) -> Reader | None:
        """The object under `key`, or None when absent."""
        value = self._object.get(key)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise self._wrong(key, "an object", value)
        return Reader(value, f"{self._what}: {key}")

    def strings(self, key: str) -> tuple[str, ...]:
        """A list of strings; empty when absent."""
        values = self._items(key)
        if not all(isinstance(value, str) for value in values):
            raise self._wrong(key, "a list of strings", values)
        return tuple(values)

    def integers(self, key: str, *, low: int = 0, high: int = MAX_DIMENSION) -> tuple[int, ...]:
        """A list of whole numbers in [low, high]; empty when absent."""
        values = self._items(key)
        for value in values:
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise self._wrong(key, f"a list of whole numbers in {low}..{high}", value)
        return tuple(values)

    def _items(self, key: str) -> Sequence[Any]:
        value = self._object.get(key)
        if value is None:
            return ()
        if not isinstance(value, list | tuple) or len(value) > MAX_NODES:
            raise self._wrong(key, "a list", value)
        return value

    def _wrong(self, key: str, expected: str, value: object) -> ShapeError:
        shown = repr(value)[:60]
        return ShapeError(Reason.CONFIG_FIELD_WRONG_TYPE, f"{self._what}: {key} must be {expected}, not {shown}")
