"""Arguments of any version, written for any other: each has one translation, and what is written is taken."""

from __future__ import annotations

from typing import Any

import pytest

from triton_vllm_operator.catalog import argument_table, arguments
from triton_vllm_operator.catalog.argument_translation import Translation, translate

VERSIONS = argument_table.versions()
NEWEST = VERSIONS[-1]


def everything() -> dict[str, Any]:
    """Every argument that any version took, with the value that its newest version has as default."""
    found: dict[str, Any] = {}
    for version in VERSIONS:
        found |= {name: argument.default for name, argument in argument_table.load(version).arguments.items()}
    return found


def translations(given: dict[str, Any], version: str = NEWEST) -> dict[str, Translation]:
    return {translation.name: translation for translation in translate(given, version)}


@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[len(VERSIONS) // 2], NEWEST])
def test_every_argument_of_every_version_has_a_translation_and_what_is_written_is_taken(version: str) -> None:
    given = everything() | {"no_such_argument": 1, "temperature": 0.5, "host": "x"}
    found = translations(given, version)
    assert list(found) == list(given)
    assert all(translation.text for translation in found.values())
    assert all(bool(translation.values) == (translation.outcome != "dropped") for translation in found.values())
    written = {name: value for translation in found.values() for name, value in translation.values.items()}
    typed = {name: value for name, value in written.items() if name in arguments.typed_fields()}
    extra = {name: value for name, value in written.items() if name not in typed}
    alone = [
        violation
        for name, value in extra.items()
        for violation in arguments.check({name: value}, version)
        if violation.rejects
    ]
    assert alone == []
    assert [violation for violation in arguments.check({}, version, typed) if violation.rejects] == []


def test_spellings_of_the_command_line_are_understood() -> None:
    found = translations({"--max-model-len": "4096", "--no-enforce-eager": True, "gpuMemoryUtilization": "0.5"})
    assert found["--max-model-len"].values == {"max_model_len": 4096}
    assert found["--no-enforce-eager"].values == {"enforce_eager": False}
    assert found["gpuMemoryUtilization"].values == {"gpu_memory_utilization": 0.5}
    assert {translation.outcome for translation in found.values()} == {"changed"}


def test_a_renamed_argument_is_written_only_where_it_says_something() -> None:
    assert translations({"disable_log_requests": False})["disable_log_requests"].values == {"enable_log_requests": True}
    assert translations({"disable_log_requests": True})["disable_log_requests"].outcome == "dropped"
    older = translations({"disable_log_requests": True}, VERSIONS[0])["disable_log_requests"]
    assert (older.outcome, older.values) == ("kept", {"disable_log_requests": True})


def test_what_imports_code_never_comes_over() -> None:
    found = translations({"trust_remote_code": True, "worker_cls": "a.B", "logits_processors": ["a:b"]})
    assert {translation.outcome for translation in found.values()} == {"dropped"}
