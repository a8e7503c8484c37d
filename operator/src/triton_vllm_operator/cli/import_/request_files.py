"""Translation of the files beside model.json with settings for requests, which our own image reads. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from contract.files import CHECKS, DEFAULTS, LIMITS, OPENAI, PROFILES, SAMPLING
from contract.limits import REQUEST_TIMEOUT
from contract.parameters import ALIASES
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import LimitsSpec, SamplingValues, ServerSpec, StartupCheck
from triton_vllm_operator.catalog import openai_arguments
from triton_vllm_operator.catalog.argument_translation import Outcome

READ = (SAMPLING, OPENAI, LIMITS, CHECKS)
_PROFILE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class FileNote:
    """Outcome for one key of one file; `key` is empty for a note on the whole file."""

    file: str
    key: str
    outcome: Outcome
    text: str


@dataclass(slots=True)
class RequestSettings:
    """`spec.sampling` and parts of `spec.server`; empty without the file."""

    sampling: dict[str, Any] = field(default_factory=dict)
    server: dict[str, Any] = field(default_factory=dict)
    notes: list[FileNote] = field(default_factory=list)


def read(files: Mapping[str, Mapping[str, Any]]) -> RequestSettings:
    """Translate the files, by name."""
    found = RequestSettings()
    _sampling(files.get(SAMPLING, {}), found)
    if OPENAI in files:
        _openai(files[OPENAI], found)
    _limits(files.get(LIMITS, {}), found)
    _startup_checks(files.get(CHECKS, {}), found)
    return found


def _sampling(content: Mapping[str, Any], found: RequestSettings) -> None:
    for key in content.keys() - {DEFAULTS, PROFILES}:
        found.notes.append(FileNote(SAMPLING, key, "dropped", "unknown to the backend"))
    if defaults := _values(DEFAULTS, "spec.sampling.defaults", content.get(DEFAULTS), found):
        found.sampling["defaults"] = defaults
    profiles: list[dict[str, Any]] = []
    for name, values in _items(content.get(PROFILES)):
        if _PROFILE.fullmatch(name):
            profiles.append({"name": name, **_values(name, f"spec.sampling.profiles {name}", values, found)})
        else:
            text = "invalid name of a profile: must be at most 63 characters of a-z, 0-9 and '-'"
            found.notes.append(FileNote(SAMPLING, f"profiles.{name}", "dropped", text))
    if profiles:
        found.sampling["profiles"] = profiles


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    yield from value.items() if isinstance(value, Mapping) else ()


def _values(where: str, place: str, values: Any, found: RequestSettings) -> dict[str, Any]:
    taken: dict[str, Any] = {}
    for key, value in _items(values):
        name = ALIASES.get(key, key)
        right = [value] if name == "stop" and isinstance(value, str) else value
        if name not in SamplingValues.model_fields:
            text = f"spec.sampling has no field for it: clients send {key}"
            found.notes.append(FileNote(SAMPLING, f"{where}.{key}", "dropped", text))
        elif right is None or not _fits(SamplingValues, name, right):
            found.notes.append(
                FileNote(SAMPLING, f"{where}.{key}", "dropped", f"invalid value for spec.sampling.{to_camel(name)}")
            )
        else:
            taken[to_camel(name)] = right
            outcome: Outcome = "kept" if (name, right) == (key, value) else "changed"
            found.notes.append(FileNote(SAMPLING, f"{where}.{key}", outcome, f"{place}: {to_camel(name)}"))
    return taken


def _fits(model: type[SamplingValues | LimitsSpec], name: str, value: Any) -> bool:
    try:
        TypeAdapter(model).validate_python({to_camel(name): value}, strict=True)
    except ValidationError:
        return False
    return True


def _openai(content: Mapping[str, Any], found: RequestSettings) -> None:
    taken: dict[str, Any] = {}
    for key, value in content.items():
        rejected = [
            one for one in openai_arguments.check({key: value}, {}) if one.rejects and one.field.endswith(f".{key}")
        ]
        # An argument that only lacks another one is checked with all of them, not here.
        if rejected and rejected[0].reason != Reason.ARGUMENTS_CONTRADICT:
            found.notes.append(FileNote(OPENAI, key, "dropped", rejected[0].message))
        else:
            taken[key] = value
            found.notes.append(FileNote(OPENAI, key, "kept", f"{openai_arguments.FIELD}.{key}"))
    found.server["openAI"] = {"enabled": True, **({"extraArgs": taken} if taken else {})}
    found.notes.append(FileNote(OPENAI, "", "kept", "spec.server.openAI.enabled: true"))


def _limits(content: Mapping[str, Any], found: RequestSettings) -> None:
    limits: dict[str, Any] = {}
    for key, value in content.items():
        if key == REQUEST_TIMEOUT:
            _timeout(value, found)
        elif key in LimitsSpec.model_fields and value is not None and _fits(LimitsSpec, key, value):
            limits[to_camel(key)] = value
            found.notes.append(FileNote(LIMITS, key, "kept", f"spec.server.limits.{to_camel(key)}"))
        else:
            found.notes.append(
                FileNote(LIMITS, key, "dropped", "spec.server.limits has no such field, or the value is invalid")
            )
    if limits:
        found.server["limits"] = limits


def _startup_checks(content: Mapping[str, Any], found: RequestSettings) -> None:
    checks: list[dict[str, Any]] = []
    for name, values in content.items():
        try:
            check = StartupCheck.model_validate({"name": name, **values})
        except (TypeError, ValidationError) as error:
            why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else "not a JSON object"
            found.notes.append(FileNote(CHECKS, name, "dropped", f"does not fit spec.server.startupChecks: {why}"))
            continue
        checks.append(check.to_json())
        found.notes.append(FileNote(CHECKS, name, "kept", f"spec.server.startupChecks[{name}]"))
    if checks:
        found.server["startupChecks"] = checks


def _timeout(value: Any, found: RequestSettings) -> None:
    """Whole seconds; 0 disables the limit."""
    name = to_camel(REQUEST_TIMEOUT)
    try:
        seconds = max(round(float(value)), 1) if float(value) > 0 else None
        TypeAdapter(ServerSpec).validate_python({name: seconds})
    except (TypeError, ValueError, OverflowError):
        found.notes.append(FileNote(LIMITS, REQUEST_TIMEOUT, "dropped", "must be between 0 and 86400 seconds"))
        return
    if seconds is None:
        found.notes.append(
            FileNote(LIMITS, REQUEST_TIMEOUT, "dropped", "0 disables the limit, as an absent field does")
        )
        return
    found.server[name] = seconds
    outcome: Outcome = "kept" if seconds == value else "changed"
    found.notes.append(FileNote(LIMITS, REQUEST_TIMEOUT, outcome, f"spec.server.{name}: {seconds}"))
