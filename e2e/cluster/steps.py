"""Steps that run in parallel where they can: progress with the elapsed time, a log file for each, one clear failure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from devtools import dag
from devtools.progress import duration, log_file, say
from e2e.cluster import shell

HEARTBEAT_SECONDS = 20.0

Work = Callable[[Path], str | None]
"""Does a step. It gets the path of the step's log file and returns a few words about the result."""


class StepFailed(Exception):
    """A step failed. The message has its name, the cause and the log file."""

    def __init__(self, name: str, cause: str, log: Path) -> None:
        self.name, self.cause, self.log = name, cause, log
        super().__init__(f"step `{name}` failed\n{cause}\nlog: {log}")


@dataclass(frozen=True)
class Step:
    """A named piece of work that starts once the steps that it comes `after` are done."""

    name: str
    work: Work
    after: tuple[str, ...] = ()


class Steps:
    """A graph of steps. `run` starts each as soon as those it comes `after` are done."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._steps: dict[str, Step] = {}
        self.seconds: dict[str, float] = {}
        self._begun = time.monotonic()

    def add(self, name: str, work: Work, after: Iterable[str] = ()) -> None:
        """Add a step.

        Raises:
            ValueError: A step of `after` was not added before, or there is a step of this name.
        """
        missing = [other for other in after if other not in self._steps]
        if missing or name in self._steps:
            raise ValueError(f"step {name!r}: unknown {missing}" if missing else f"step {name!r} twice")
        self._steps[name] = Step(name, work, tuple(after))

    def run(self) -> None:
        """Run all steps.

        Raises:
            StepFailed: The first failure. No further step has started, and the running commands were stopped.
        """
        graph = {step.name: step.after for step in self._steps.values()}
        try:
            dag.run(graph, self._work, self._ended, self._heartbeat, HEARTBEAT_SECONDS)
        finally:
            shell.go_on()

    def _work(self, name: str) -> str | None:
        log = log_file(self._logs, name)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("")
        return self._steps[name].work(log)

    def _clock(self) -> str:
        return f"[{duration(time.monotonic() - self._begun):>6}]"

    def _heartbeat(self, running: Mapping[str, float]) -> None:
        say(f"{self._clock()} ... " + ", ".join(f"{name} ({duration(seconds)})" for name, seconds in running.items()))

    def _ended(self, step: dag.Ended[str | None]) -> None:
        cause = step.future.exception()
        if cause is not None:
            shell.stop_running()
            log = getattr(cause, "log", None) or log_file(self._logs, step.name)
            raise StepFailed(step.name, explain(cause), log) from cause
        self.seconds[step.name] = step.seconds
        say(f"{self._clock()} {step.name}: {step.future.result() or 'done'} ({duration(step.seconds)})")


def explain(cause: BaseException) -> str:
    """The cause of a failure for a person: a command's last lines, else the exception's own message."""
    if isinstance(cause, shell.CommandFailed):
        return f"`{' '.join(cause.command)[:160]}` ended with {cause.returncode}:\n{cause.cause}"
    if isinstance(cause, shell.RequirementNotMet):
        return str(cause)
    return f"{type(cause).__name__}: {cause}"
