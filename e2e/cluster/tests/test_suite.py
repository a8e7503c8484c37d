"""`make test`: order of its stages, what a failure stops and what it does not."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from e2e.suite import ENGINE_ENVIRONMENT, STAGES, Stage, Suite


def stage(name: str, code: str, *needs: str) -> Stage:
    return Stage(name, (sys.executable, "-c", code), needs)


def test_stages_that_wait_for_nothing_run_side_by_side(tmp_path: Path) -> None:
    meet = (
        "import pathlib, time\nmine, other = map(pathlib.Path, {})\nmine.touch()\n"
        "while not other.exists(): time.sleep(0.01)"
    )
    first, second = str(tmp_path / "1"), str(tmp_path / "2")
    suite = Suite((stage("a", meet.format([first, second])), stage("b", meet.format([second, first]))), tmp_path)
    assert suite.run()


def test_a_stage_starts_after_those_that_it_needs(tmp_path: Path) -> None:
    made = tmp_path / "made"
    first = stage("first", f"import pathlib, time; time.sleep(0.2); pathlib.Path({str(made)!r}).touch()")
    then = stage("then", f"import pathlib; assert pathlib.Path({str(made)!r}).exists()", "first")
    assert Suite((then, first), tmp_path).run()


def test_a_failure_is_shown_stops_what_needs_it_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = (
        stage("broken", "import sys; print('why it broke'); sys.exit(3)"),
        stage("needs it", "print('never')", "broken"),
        stage("needs that", "print('never')", "needs it"),
        Stage("sound", (sys.executable, "-c", "print('all well')"), after=("broken",)),
    )
    suite = Suite(stages, tmp_path)
    assert not suite.run()
    assert {name: result.passed for name, result in suite.results.items()} == {
        "broken": False,
        "needs it": None,
        "needs that": None,
        "sound": True,
    }
    output = capsys.readouterr().out
    assert "why it broke" in output
    assert "=== broken: FAILED" in output
    assert re.search(r"=== sound: passed \(\d+s\): all well", output)
    assert "never" not in output


def test_the_project_is_tested_whole() -> None:
    commands = [" ".join(one.command) for one in STAGES]
    for mark in ("apiserver", "engine", "oracle", "cuda", "e2e and not alone", "alone"):
        assert sum(f"-m {mark} " in command for command in commands) == 1
    assert {name for one in STAGES for name in (*one.needs, *one.after)} < {one.name for one in STAGES}


def test_binaries_are_built_before_tests_that_have_a_time_limit_ask_for_them() -> None:
    (asks,) = [one for one in STAGES if "apiserver" in one.command]
    (builds,) = [one for one in STAGES if "binaries" in one.command]
    assert builds.name in asks.needs
    assert not builds.needs


def test_environments_of_engines_are_built_before_tests_that_have_a_time_limit_start_engines() -> None:
    (starts,) = [one for one in STAGES if "engine" in one.command]
    builds = {one.name for one in STAGES if one.command[1] == ENGINE_ENVIRONMENT}
    assert builds
    assert builds <= set(starts.needs)
