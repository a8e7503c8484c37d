"""Loads the data files of the package, YAML or JSON, into typed objects.

A wrong or extra key is an error that names the row and the key (`pydantic.ValidationError`). Each file is read once.
"""

import json
from functools import cache
from importlib import resources
from typing import Any, TypeVar, cast

import yaml
from pydantic import ConfigDict, TypeAdapter
from pydantic.alias_generators import to_camel

T = TypeVar("T")

# Files that people write have camelCase keys, as the custom resource has.
CAMEL = ConfigDict(alias_generator=to_camel, extra="forbid")
# Generated files, and those whose keys are names of vLLM, have snake_case keys.
SNAKE = ConfigDict(extra="forbid")

CATALOG = "triton_vllm_operator.catalog"


def load_yaml(name: str, shape: type[T], package: str = CATALOG) -> T:
    """The YAML file `data/NAME` of a package as a `shape`."""
    return cast(T, _load_yaml(name, cast(Any, shape), package))


def load_json(name: str, shape: type[T], package: str = CATALOG) -> T:
    """The JSON file `data/NAME` of a package as a `shape`."""
    return cast(T, _load_json(name, cast(Any, shape), package))


@cache
def _load_yaml(name: str, shape: Any, package: str) -> Any:
    return TypeAdapter(shape).validate_python(yaml.safe_load(_text(name, package)))


@cache
def _load_json(name: str, shape: Any, package: str) -> Any:
    return TypeAdapter(shape).validate_python(json.loads(_text(name, package)))


def _text(name: str, package: str) -> str:
    return resources.files(package).joinpath("data", name).read_text(encoding="utf-8")
