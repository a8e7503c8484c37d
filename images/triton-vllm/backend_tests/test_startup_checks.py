"""Startup checks: what passes, what fails with which message, and which files are rejected. No engine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from backend.engine.startup_checks import Answer, Generate, StartupCheckFailed, run
from backend.settings import BadModel, read_model
from contract.startup_checks import ATTEMPTS, MAX_TOKENS, StartupCheck
from testing.server import write_model


def answers(*given: tuple[str, float], tokens: int = 10) -> tuple[Generate, list[str]]:
    """What answers with these texts, each after this number of seconds, and the request ids that it got."""
    ids: list[str] = []

    async def generate(check: StartupCheck, request_id: str) -> Answer:
        text, seconds = given[min(len(ids), len(given) - 1)]
        ids.append(request_id)
        await asyncio.sleep(seconds)
        return Answer(text, tokens)

    return generate, ids


async def test_each_check_is_asked_once_and_reported_by_name() -> None:
    generate, ids = answers(("Paris is the capital", 0))
    checks = {"capital": StartupCheck("?", pattern="(?i)paris"), "any": StartupCheck("?", max_seconds=5)}
    facts = await run(generate, checks)
    assert list(facts) == ["capital", "any"]
    assert facts["capital"]["tokens"] == 10
    assert 0 <= facts["any"]["seconds"] < 5
    assert ids == ["startup-check-capital-0", "startup-check-any-0"]


async def test_a_wrong_answer_fails_at_once_and_is_shown_in_one_short_line() -> None:
    generate, ids = answers(("London\n" + "x" * 1000, 0))
    with pytest.raises(StartupCheckFailed) as failed:
        await run(generate, {"capital": StartupCheck("?", pattern="Paris")})
    message = str(failed.value)
    assert message.startswith("startup check capital: the answer 'London xxx")
    assert message.endswith("...' does not match 'Paris'")
    assert "\n" not in message
    assert len(message) < 250
    assert len(ids) == 1


async def test_the_pattern_may_match_any_part_of_the_answer() -> None:
    generate, _ = answers(("a b\nc", 0))
    await run(generate, {"one": StartupCheck("?", pattern="^c$|b")})


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (StartupCheck("?", max_seconds=0.01), "the answer took longer than 0.01 seconds, also at attempt 3"),
        (StartupCheck("?", min_tokens_per_second=1000), "tokens per second, fewer than 1000, also at attempt 3"),
    ],
)
async def test_a_slow_answer_is_tried_again_before_it_fails(check: StartupCheck, message: str) -> None:
    generate, ids = answers(("x", 0.05))
    with pytest.raises(StartupCheckFailed, match=message):
        await run(generate, {"speed": check})
    assert ids == [f"startup-check-speed-{number}" for number in range(ATTEMPTS)]


@pytest.mark.parametrize("check", [StartupCheck("?", max_seconds=0.2), StartupCheck("?", min_tokens_per_second=50)])
async def test_one_attempt_that_is_fast_enough_passes(check: StartupCheck) -> None:
    generate, ids = answers(("x", 0.3), ("x", 0))
    await run(generate, {"speed": check})
    assert len(ids) == 2


@pytest.mark.parametrize(
    "given",
    [
        [],
        {},
        {"prompt": ""},
        {"prompt": 1},
        {"prompt": "?", "regex": "x"},
        {"prompt": "?", "pattern": "("},
        {"prompt": "?", "pattern": 1},
        {"prompt": "?", "max_tokens": 0},
        {"prompt": "?", "max_seconds": True},
        {"prompt": "?", "min_tokens_per_second": "9"},
    ],
)
def test_a_check_that_cannot_work_is_rejected_by_name(tmp_path: Path, given: Any) -> None:
    version = write_model(tmp_path, "llm", {"model": "/"}, startup_checks={"capital": given})
    with pytest.raises(BadModel, match=r"startup_checks\.json: capital"):
        read_model(version)


@pytest.mark.parametrize("more", [{}, {"pattern": "4", "max_tokens": 3, "max_seconds": 1.5}])
def test_a_file_is_read_with_the_contracts_defaults(tmp_path: Path, more: dict[str, Any]) -> None:
    version = write_model(tmp_path, "llm", {"model": "/"}, startup_checks={"sum": {"prompt": "2+2=", **more}})
    assert read_model(version).checks == {"sum": StartupCheck("2+2=", **{"max_tokens": MAX_TOKENS, **more})}


def test_without_the_file_there_is_no_check(tmp_path: Path) -> None:
    assert read_model(write_model(tmp_path, "llm", {"model": "/"})).checks == {}
