"""Whether a value is what an engine argument takes, and the value that was probably meant."""

import json
import operator
from collections.abc import Mapping
from typing import Any

import yaml

from triton_vllm_operator.catalog.argument_table import Argument

_WORDS = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "list": "a list",
    "object": "an object",
}
_SIGNS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


# Deepest nesting of one value. Real ones need about 5; what writes a value into a message recurses.
MAX_DEPTH = 32


def too_deep(value: Any) -> bool:
    """Whether objects and lists are nested deeper than MAX_DEPTH. Not recursive: the depth is the user's."""
    level = [value]
    for _ in range(MAX_DEPTH):
        inner = [list(node.values()) if isinstance(node, Mapping) else node for node in level]
        level = [item for node in inner if isinstance(node, list) for item in node]
    return bool(level)


def kind(value: object) -> str:
    """JSON kind of a value. Raises KeyError for what JSON cannot hold."""
    kinds = {bool: "bool", int: "int", float: "float", str: "str", list: "list", dict: "object", type(None): "null"}
    return kinds[type(value)]


def fits(argument: Argument, value: object) -> bool:
    """Whether the value has one of the argument's kinds. A whole number is a number; true is not a number."""
    given = kind(value)
    return "any" in argument.types or given in argument.types or (given == "int" and "float" in argument.types)


def meant(argument: Argument, value: object) -> object | None:
    """The value of the right kind that the text, number or single item stands for; None when nothing is plain."""
    if isinstance(value, str):
        return _read(argument, value)
    if isinstance(value, float) and value.is_integer() and "int" in argument.types:
        return int(value)
    if isinstance(value, bool):
        return None
    return [value] if "list" in argument.types and kind(value) in ("int", "float") else None


def _read(argument: Argument, text: str) -> object | None:
    """What `text` holds as JSON, when the argument takes that; a word where a list is taken becomes its only item."""
    try:
        value = json.loads(text.lower() if text.lower() in ("true", "false", "null") else text)
    except ValueError:
        value = [text] if "list" in argument.types else None
    return value if value is not None and fits(argument, value) else None


def kinds_in_words(argument: Argument) -> str:
    """For example "a list or text". Null is not offered: leaving the argument out says the same."""
    return " or ".join(_WORDS[name] for name in argument.types if name != "null")


def broken_bound(bounds: Mapping[str, float], value: object) -> str | None:
    """For example "at least 1" when the value is lower; None when it keeps all bounds or is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    kept = {"ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt}
    for name, limit in bounds.items():
        if not kept[name](value, limit):
            return f"{_SIGNS[name]} {limit:g}"
    return None


def line(value: Any) -> str:
    """The value as one writes it in YAML, on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False)
    return text.removesuffix("...\n").strip()


def shown(value: Any) -> str:
    """The value as a message repeats it: at most 80 characters."""
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
