"""Steps: side by side where they may, in order where they must, and one clear failure."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from e2e.cluster import shell
from e2e.cluster.steps import StepFailed, Steps, Work


@pytest.fixture
def steps(tmp_path: Path) -> Steps:
    return Steps(tmp_path)


def noted(into: list[str], word: str) -> Work:
    def work(log: Path) -> None:
        into.append(word)

    return work


def test_steps_that_do_not_wait_for_each_other_run_at_the_same_time(steps: Steps) -> None:
    meeting = threading.Barrier(3)
    for name in ("a", "b", "c"):
        steps.add(name, lambda log: f"number {meeting.wait(30)}")  # broken unless all three are there
    steps.run()
    assert set(steps.seconds) == {"a", "b", "c"}


def test_a_step_starts_when_all_that_it_comes_after_are_done(steps: Steps) -> None:
    order: list[str] = []
    steps.add("base", noted(order, "base"))
    steps.add("left", noted(order, "left"), ["base"])
    steps.add("right", noted(order, "right"), ["base"])
    steps.add("top", noted(order, "top"), ["left", "right"])
    steps.run()
    assert (order[0], order[-1], sorted(order)) == ("base", "top", ["base", "left", "right", "top"])


def test_each_step_is_told_with_its_outcome_and_its_time(steps: Steps, capsys: pytest.CaptureFixture[str]) -> None:
    steps.add("network", lambda log: "already there")
    steps.add("registry", lambda log: None)
    steps.run()
    lines = sorted(capsys.readouterr().out.splitlines())
    assert ["network: already there (0s)" in lines[0], "registry: done (0s)" in lines[1]] == [True, True]


def test_a_failure_names_the_step_the_cause_and_the_log(steps: Steps, tmp_path: Path) -> None:
    steps.add("node image", lambda log: shell.logged(["sh", "-c", "echo no space left; exit 2"], log))
    with pytest.raises(StepFailed) as failed:
        steps.run()
    message = str(failed.value)
    assert "step `node image` failed" in message
    assert "ended with 2:\n" in message
    assert message.endswith(f"no space left\nlog: {tmp_path / 'node-image.log'}")


def test_the_log_of_the_failing_command_wins_over_the_steps_own(steps: Steps, tmp_path: Path) -> None:
    steps.add("programs", lambda log: shell.logged(["false"], tmp_path / "build.log"))
    with pytest.raises(StepFailed) as failed:
        steps.run()
    assert failed.value.log == tmp_path / "build.log"


@pytest.mark.parametrize(
    ("error", "message"),
    [(shell.RequirementNotMet("Go is missing: install it"), "Go is missing"), (KeyError("k"), "KeyError: 'k'")],
)
def test_an_error_is_reported_with_its_message(steps: Steps, error: Exception, message: str) -> None:
    def work(log: Path) -> None:
        raise error

    steps.add("x", work)
    with pytest.raises(StepFailed, match=message):
        steps.run()


def test_after_a_failure_nothing_more_is_started_and_running_commands_end(steps: Steps, tmp_path: Path) -> None:
    began, later = threading.Event(), tmp_path / "later"

    def long(log: Path) -> None:
        began.set()
        try:
            shell.logged(["sleep", "120"], log)
        except shell.CommandFailed:
            later.touch()  # a step that takes a failed command for an answer must not go on
        shell.logged(["touch", str(later)], log)

    def fail(log: Path) -> None:
        began.wait(30)
        raise shell.RequirementNotMet("no disk: free some")

    steps.add("long", long)
    steps.add("fails", fail)
    steps.add("after", lambda log: later.touch(), ["fails"])
    steps.add("after long", lambda log: later.touch(), ["long"])
    begun = time.monotonic()
    with pytest.raises(StepFailed, match="step `fails` failed\nno disk: free some"):
        steps.run()
    assert time.monotonic() - begun < 60
    assert not later.exists()


def test_commands_work_again_after_a_failed_run(steps: Steps, tmp_path: Path) -> None:
    steps.add("x", lambda log: shell.logged(["false"], log))
    with pytest.raises(StepFailed):
        steps.run()
    shell.logged(["true"], tmp_path / "log")


def test_a_step_that_comes_twice_or_after_nothing_is_a_mistake(steps: Steps) -> None:
    steps.add("a", lambda log: None)
    with pytest.raises(ValueError, match="'a' twice"):
        steps.add("a", lambda log: None)
    with pytest.raises(ValueError, match=r"unknown \['b'\]"):
        steps.add("c", lambda log: None, ["b"])
