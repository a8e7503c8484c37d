"""Steps that run side by side: progress with elapsed time, a log file each, one clear failure."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import shell

HEARTBEAT_SECONDS = 20.0

Work = Callable[[Path], str | None]
"""What a step does: gets its log file, returns a few words about the outcome."""


class StepFailed(Exception):
    """A step failed: its name, the cause and the log file are in the message."""

    def __init__(self, name: str, cause: str, log: Path) -> None:
        self.name, self.cause, self.log = name, cause, log
        super().__init__(f"step `{name}` failed\n{cause}\nlog: {log}")


@dataclass(frozen=True)
class Step:
    name: str
    work: Work
    after: tuple[str, ...] = ()


def say(text: str) -> None:
    """One line for the person at the terminal."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


class Steps:
    """A graph of steps. `run` starts each as soon as those it comes `after` are done."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._steps: dict[str, Step] = {}
        self.seconds: dict[str, float] = {}
        self._begun = time.monotonic()

    def add(self, name: str, work: Work, after: Iterable[str] = ()) -> None:
        """Add a step; every name in `after` must have been added before (ValueError)."""
        missing = [other for other in after if other not in self._steps]
        if missing or name in self._steps:
            raise ValueError(f"step {name!r}: unknown {missing}" if missing else f"step {name!r} twice")
        self._steps[name] = Step(name, work, tuple(after))

    def run(self) -> None:
        """Run all steps; StepFailed for the first that fails, once the commands of the others are stopped."""
        try:
            self._run()
        finally:
            shell.go_on()

    def _run(self) -> None:
        waiting, running = dict(self._steps), dict[Future[str | None], Step]()
        started: dict[str, float] = {}
        with ThreadPoolExecutor(max_workers=max(1, len(waiting))) as pool:
            while waiting or running:
                for step in self._ready(waiting):
                    started[step.name] = time.monotonic()
                    running[pool.submit(step.work, self._log(step))] = step
                    del waiting[step.name]
                done, _ = wait(running, timeout=HEARTBEAT_SECONDS, return_when=FIRST_COMPLETED)
                if not done:
                    self._beat(running.values(), started)
                for future in done:
                    step = running.pop(future)
                    self._finish(step, future, time.monotonic() - started[step.name])

    def _ready(self, waiting: dict[str, Step]) -> list[Step]:
        return [step for step in waiting.values() if all(name in self.seconds for name in step.after)]

    def _log(self, step: Step) -> Path:
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self._logs / f"{step.name.replace(' ', '-')}.log"
        log.write_text("")
        return log

    def _clock(self) -> str:
        return f"[{duration(time.monotonic() - self._begun):>6}]"

    def _beat(self, running: Iterable[Step], started: dict[str, float]) -> None:
        now = time.monotonic()
        say(f"{self._clock()} ... " + ", ".join(f"{s.name} ({duration(now - started[s.name])})" for s in running))

    def _finish(self, step: Step, future: Future[str | None], seconds: float) -> None:
        cause = future.exception()
        if cause is not None:
            log = getattr(cause, "log", None) or self._log_path(step)
            shell.stop_running()
            raise StepFailed(step.name, explain(cause), log) from cause
        self.seconds[step.name] = seconds
        say(f"{self._clock()} {step.name}: {future.result() or 'done'} ({duration(seconds)})")

    def _log_path(self, step: Step) -> Path:
        return self._logs / f"{step.name.replace(' ', '-')}.log"


def explain(cause: BaseException) -> str:
    """The cause of a failure for a person: a command's last lines, else the exception's own words."""
    if isinstance(cause, shell.CommandFailed):
        return f"`{' '.join(cause.command)[:160]}` ended with {cause.returncode}:\n{cause.cause}"
    if isinstance(cause, shell.Unmet):
        return str(cause)
    return f"{type(cause).__name__}: {cause}"
