from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from e2e.cluster import shell
from e2e.cluster.machine import processes


def test_a_log_has_the_command_and_its_output(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "step.log"
    shell.logged(["sh", "-c", "echo out; echo err >&2"], log)
    shell.logged(["sh", "-c", 'echo "$WORD"; pwd'], log, env={"WORD": "given"}, cwd=tmp_path)
    assert log.read_text().splitlines() == [
        "$ sh -c echo out; echo err >&2", "out", "err", '$ sh -c echo "$WORD"; pwd', "given", str(tmp_path),
    ]  # fmt: skip


def test_a_failure_carries_its_last_lines_and_its_log(tmp_path: Path) -> None:
    log = tmp_path / "step.log"
    with pytest.raises(shell.CommandFailed) as failed:
        shell.logged(["sh", "-c", "seq 50; echo; echo broken; exit 3"], log)
    assert failed.value.returncode == 3
    assert failed.value.log == log
    assert failed.value.cause.splitlines()[-2:] == ["50", "broken"]
    assert len(failed.value.cause.splitlines()) == shell.TAIL_LINES


def test_a_command_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with pytest.raises(subprocess.TimeoutExpired):
        shell.logged(["sh", "-c", f"echo $$ > {pid}; exec sleep 60"], tmp_path / "log", timeout=2)
    assert not processes.process_named(int(pid.read_text()), "sleep")


def test_output_is_the_standard_output_and_an_error_is_the_standard_error() -> None:
    assert shell.output(["cat"], stdin="text") == "text"
    with pytest.raises(shell.CommandFailed, match="no such thing") as failed:
        shell.output(["sh", "-c", "echo out; echo no such thing >&2; exit 1"])
    assert failed.value.cause == "no such thing"


@pytest.mark.parametrize(
    ("command", "outcome"),
    [(["true"], True), (["false"], False), (["no-such"], False), (["sleep", "9"], False)],
)
def test_a_question_is_answered_with_no_when_the_program_fails_is_missing_or_hangs(
    command: list[str], outcome: bool
) -> None:
    assert shell.succeeds(command, timeout=1 if command[0] == "sleep" else 60) is outcome


def test_nothing_is_started_between_stop_and_go_on(tmp_path: Path) -> None:
    shell.stop_running()
    with pytest.raises(shell.Stopped):
        shell.logged(["touch", str(tmp_path / "made")], tmp_path / "log")
    shell.go_on()
    assert not (tmp_path / "made").exists()
    shell.logged(["touch", str(tmp_path / "made")], tmp_path / "log")
    assert (tmp_path / "made").exists()
