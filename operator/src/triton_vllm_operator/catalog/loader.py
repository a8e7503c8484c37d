"""Reads a table file of this package into frozen dataclasses; a wrong or extra key is an error, never ignored."""

import json
from importlib import resources
from typing import Any, TypeVar

import yaml
from pydantic import ConfigDict, TypeAdapter
from pydantic.alias_generators import to_camel

T = TypeVar("T")

# Tables are written by hand in camelCase, as the custom resource is.
CAMEL = ConfigDict(alias_generator=to_camel, extra="forbid")


def text(name: str) -> str:
    return resources.files(f"{__package__}.data").joinpath(name).read_text(encoding="utf-8")


def read_yaml(name: str, shape: type[T]) -> T:
    """Raises pydantic.ValidationError, which names the row and the key, when the file has another shape."""
    return TypeAdapter(shape).validate_python(yaml.safe_load(text(name)))


def read_json(name: str) -> Any:
    return json.loads(text(name))
