"""Arguments of any version, written for any other: each has one fate, and what is written is taken."""

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


def fates(given: dict[str, Any], version: str = NEWEST) -> dict[str, Translation]:
    return {fate.name: fate for fate in translate(given, version)}


@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[len(VERSIONS) // 2], NEWEST])
def test_every_argument_of_every_version_has_a_fate_and_what_is_written_is_taken(version: str) -> None:
    given = everything() | {"no_such_argument": 1, "temperature": 0.5, "host": "x"}
    found = fates(given, version)
    assert list(found) == list(given)
    assert all(fate.text for fate in found.values())
    assert all(bool(fate.values) == (fate.outcome != "dropped") for fate in found.values())
    written = {name: value for fate in found.values() for name, value in fate.values.items()}
    typed = {name: value for name, value in written.items() if name in arguments.typed_fields()}
    extra = {name: value for name, value in written.items() if name not in typed}
    alone = [
        problem
        for name, value in extra.items()
        for problem in arguments.check({name: value}, version)
        if problem.rejects
    ]
    assert alone == []
    assert [problem for problem in arguments.check({}, version, typed) if problem.rejects] == []


def test_spellings_of_the_command_line_are_understood() -> None:
    found = fates({"--max-model-len": "4096", "--no-enforce-eager": True, "gpuMemoryUtilization": "0.5"})
    assert found["--max-model-len"].values == {"max_model_len": 4096}
    assert found["--no-enforce-eager"].values == {"enforce_eager": False}
    assert found["gpuMemoryUtilization"].values == {"gpu_memory_utilization": 0.5}
    assert {fate.outcome for fate in found.values()} == {"changed"}


def test_a_renamed_argument_is_written_only_where_it_says_something() -> None:
    assert fates({"disable_log_requests": False})["disable_log_requests"].values == {"enable_log_requests": True}
    assert fates({"disable_log_requests": True})["disable_log_requests"].outcome == "dropped"
    older = fates({"disable_log_requests": True}, VERSIONS[0])["disable_log_requests"]
    assert (older.outcome, older.values) == ("kept", {"disable_log_requests": True})


def test_what_imports_code_never_comes_over() -> None:
    found = fates({"trust_remote_code": True, "worker_cls": "a.B", "logits_processors": ["a:b"]})
    assert {fate.outcome for fate in found.values()} == {"dropped"}
