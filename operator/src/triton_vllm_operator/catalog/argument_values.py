"""Checks the type and the bounds of an argument's value, and finds the value that was probably meant."""

import json
import operator
from collections.abc import Mapping
from typing import Any

import yaml

from triton_vllm_operator.catalog.argument_table import Argument

_TYPE_NAMES = {
    "bool": "true or false",
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "list": "a list",
    "object": "an object",
}
_SIGNS = {"ge": "at least", "gt": "greater than", "le": "at most", "lt": "less than"}

# Maximum nesting of one value. Real ones need about 5; what writes a value into a message recurses.
MAX_DEPTH = 32


def is_too_deep(value: Any) -> bool:
    """Whether objects and lists are nested deeper than MAX_DEPTH. Not recursive: the user chooses the depth."""
    level = [value]
    for _ in range(MAX_DEPTH):
        inner = [list(node.values()) if isinstance(node, Mapping) else node for node in level]
        level = [item for node in inner if isinstance(node, list) for item in node]
    return bool(level)


_JSON_TYPES = {bool: "bool", int: "int", float: "float", str: "str", list: "list", dict: "object", type(None): "null"}


def json_type(value: object) -> str:
    """The JSON type of a value, "" for what JSON cannot hold, such as a date of YAML."""
    return _JSON_TYPES.get(type(value), "")


def has_valid_type(argument: Argument, value: object) -> bool:
    """Whether the value has one of the argument's types. An integer is a number; true is not a number."""
    given = json_type(value)
    return "any" in argument.types or given in argument.types or (given == "int" and "float" in argument.types)


def intended_value(argument: Argument, value: object) -> object | None:
    """The value of a valid type that a string, number or single item stands for; None when none is obvious."""
    if isinstance(value, str):
        return _parsed(argument, value)
    if isinstance(value, float) and value.is_integer() and "int" in argument.types:
        return int(value)
    if isinstance(value, bool):
        return None
    return [value] if "list" in argument.types and json_type(value) in ("int", "float") else None


def _parsed(argument: Argument, text: str) -> object | None:
    """`text` as JSON, if that is valid for the argument; a word becomes the only item of a list."""
    try:
        value = json.loads(text.lower() if text.lower() in ("true", "false", "null") else text)
    except ValueError:
        value = [text] if "list" in argument.types else None
    return value if value is not None and has_valid_type(argument, value) else None


def type_names(argument: Argument) -> str:
    """For example "a list or a string". Null is not offered: a missing argument means the same."""
    return " or ".join(_TYPE_NAMES[name] for name in argument.types if name != "null")


def violated_bound(bounds: Mapping[str, float], value: object) -> str | None:
    """For example "at least 1" when the value is lower; None when it is within all bounds or is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    kept = {"ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt}
    for name, limit in bounds.items():
        if not kept[name](value, limit):
            return f"{_SIGNS[name]} {limit:g}"
    return None


def yaml_line(value: Any) -> str:
    """The value in YAML, on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False)
    return text.removesuffix("...\n").strip()


def abbreviated(value: Any) -> str:
    """The value in JSON, cut to 80 characters for a message."""
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."


def choice_advice(field: str, close: str | None) -> str:
    """What to set an argument with fixed values to: the value that was probably meant, else one of the list."""
    return f"Set {field}: {close}" if close is not None else f"Set {field} to one of the valid values"
