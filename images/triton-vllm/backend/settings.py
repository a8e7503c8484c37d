"""The files beside a model's config.pbtxt: settings of the engine and of the front ends.

`model.json` holds vLLM's engine arguments. Optional files: `multi_lora.json` (name -> path), `sampling.json`
(defaults and profiles), `openai.json` (the OpenAI server's arguments; its presence turns the server on), `limits.json`
(what one request may ask for) and `startup_checks.json` (requests that must be answered as expected at the start).
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contract import files, limits
from contract.limits import RequestLimits
from contract.startup_checks import KEYS as CHECK_KEYS
from contract.startup_checks import StartupCheck


class BadModel(Exception):
    """The model's folder cannot work; the message names the file and the key."""


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """Sampling values used when a request sets none, and named sets of them."""

    defaults: Mapping[str, Any] = field(default_factory=dict)
    profiles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Everything that a model's version folder says."""

    engine_arguments: dict[str, Any]
    loras: dict[str, str]
    sampling: SamplingSettings
    limits: RequestLimits
    openai: dict[str, Any] | None
    checks: Mapping[str, StartupCheck] = field(default_factory=dict)


def read_model(folder: Path) -> ModelSettings:
    """Read the version folder of a model (`<repository>/<model>/<version>`). Raises BadModel."""
    arguments = read_object(folder / files.ENGINE)
    if arguments is None:
        raise BadModel(f"'{files.ENGINE}' containing vllm engine args must be provided in '{folder}'")
    sampling = read_object(folder / files.SAMPLING) or {}
    _only_known(files.SAMPLING, sampling, (files.DEFAULTS, files.PROFILES))
    profiles = sampling.get(files.PROFILES, {})
    defaults = sampling.get(files.DEFAULTS, {})
    for value in (
        defaults,
        profiles,
        *(profiles.values() if isinstance(profiles, dict) else ()),
    ):
        if not isinstance(value, dict):
            raise BadModel(f"{files.SAMPLING}: defaults, profiles and each profile must be JSON objects")
    bounds = read_object(folder / files.LIMITS) or {}
    _only_known(files.LIMITS, bounds, limits.KEYS)
    for key, limit in bounds.items():
        if limit is not None and (not _is_number(limit) or limit < 0):
            raise BadModel(f"{files.LIMITS}: {key} must be a number from 0")
    return ModelSettings(
        engine_arguments=arguments,
        loras=read_object(folder / files.LORA) or {},
        sampling=SamplingSettings(defaults, profiles),
        limits=RequestLimits(**bounds),
        openai=read_object(folder / files.OPENAI),
        checks=_startup_checks(read_object(folder / files.CHECKS) or {}),
    )


def _startup_checks(given: Mapping[str, Any]) -> dict[str, StartupCheck]:
    checks = {}
    for name, values in given.items():
        where = f"{files.CHECKS}: {name}"
        if not isinstance(values, dict) or not isinstance(values.get("prompt"), str) or not values["prompt"]:
            raise BadModel(f"{where} must be a JSON object with a prompt")
        _only_known(where, values, CHECK_KEYS)
        for key in ("max_tokens", "max_seconds", "min_tokens_per_second"):
            value = values.get(key)
            if value is not None and (not _is_number(value) or value <= 0):
                raise BadModel(f"{where}: {key} must be a number above 0")
        try:
            re.compile(values.get("pattern") or "")
        except (re.error, TypeError) as error:
            raise BadModel(f"{where}: pattern is not a regular expression of Python: {error}") from None
        checks[name] = StartupCheck(**values)
    return checks


def read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file, None when there is no such file. Raises BadModel."""
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise BadModel(f"{path.name}: {error}") from None
    if not isinstance(value, dict):
        raise BadModel(f"{path.name} must hold a JSON object")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _only_known(file: str, values: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in values:
        if key not in known:
            raise BadModel(f"{file}: unknown key '{key}'; allowed: {', '.join(known)}")


def closest(name: str, known: set[str]) -> str:
    """` (did you mean 'x'?)`, or nothing."""
    found = difflib.get_close_matches(name, known, n=1) or difflib.get_close_matches(name.lower(), known, n=1)
    return f" (did you mean '{found[0]}'?)" if found else ""


def is_true(config: Mapping[str, Any], parameter: str) -> bool | None:
    """A config.pbtxt parameter: True for the text true in any case, False for anything else, None when absent."""
    value = text_parameter(config, parameter)
    return None if value is None else value.lower() == "true"


def text_parameter(config: Mapping[str, Any], parameter: str) -> str | None:
    """The string value of a config.pbtxt parameter."""
    entry = config.get("parameters", {}).get(parameter)
    return None if entry is None else str(entry.get("string_value", ""))
