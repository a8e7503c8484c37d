"""Running commands: output goes to a log file, a failure carries its last lines."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

TAIL_LINES = 12


class CommandFailed(Exception):
    """A command ended with an error. `cause` holds its last lines, `log` the file with all of them."""

    def __init__(self, command: Sequence[str], returncode: int, cause: str, log: Path | None) -> None:
        self.command, self.returncode, self.cause, self.log = list(command), returncode, cause, log
        super().__init__(f"`{' '.join(command)[:200]}` ended with {returncode}: {cause}")


class RequirementNotMet(Exception):
    """Something that the machine must have is missing. The message is one line: what, and what to do."""


class Stopped(Exception):
    """The command was not started, or was ended, because another step has failed."""


Command = Sequence[str] | Sequence[Path] | Sequence[str | Path]


def environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    return {**os.environ, **(extra or {})}


def logged(
    command: Command,
    log: Path,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> None:
    """Run `command` with its output appended to `log`; raise CommandFailed with the last lines.

    `timeout` is in seconds; past it the command is killed and subprocess.TimeoutExpired is raised. Between
    `stop_running` and `go_on` nothing is started: Stopped.
    """
    words = [str(word) for word in command]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        sink.write(f"$ {' '.join(words)}\n".encode())
        sink.flush()
        with _starting:
            if _stopped.is_set():
                raise Stopped(words[0])
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT, cwd=cwd, env=environment(env)
            )
            _running.add(process)
        returncode = _wait(process, timeout)
    if returncode and _stopped.is_set():
        raise Stopped(words[0])
    if returncode:
        raise CommandFailed(words, returncode, tail(log), log)


_running: set[subprocess.Popen[bytes]] = set()
_stopped = threading.Event()
_starting = threading.Lock()  # no command may start unseen while the running ones are being ended


def _wait(process: subprocess.Popen[bytes], timeout: float | None) -> int:
    try:
        return process.wait(timeout)
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        _running.discard(process)


def stop_running() -> None:
    """End the commands that other threads run through `logged`, and let none start until `go_on`."""
    with _starting:
        _stopped.set()
        for process in list(_running):
            process.terminate()


def go_on() -> None:
    """Let commands start again."""
    _stopped.clear()


def output(
    command: Command,
    *,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout: float = 120,
) -> str:
    """What `command` writes on its standard output; raise CommandFailed with its standard error."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words, input=stdin, capture_output=True, text=True, env=environment(env), timeout=timeout, check=False
    )
    if done.returncode:
        raise CommandFailed(words, done.returncode, (done.stderr or done.stdout).strip(), None)
    return done.stdout


def succeeds(command: Command, *, env: Mapping[str, str] | None = None, timeout: float = 60) -> bool:
    """Whether `command` exists, ends in time and ends with 0."""
    try:
        output(command, env=env, timeout=timeout)
    except (CommandFailed, FileNotFoundError, subprocess.TimeoutExpired):
        return False
    return True


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """The last non-empty lines of `log`."""
    text = log.read_text(errors="replace").splitlines()
    return "\n".join([line for line in text if line.strip()][-lines:])
