"""`make test`: every check and test of the project, the quick ones first.

Stages that start engines or compile have the machine for themselves: in parallel with others they take longer, and some
of their tests give the operator seconds. Most of an engine's start runs on one core, so within a stage two files of
tests run in parallel. What is built or downloaded once starts at the beginning: it waits for the network, or is nice.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from devtools import cache, dag
from devtools.progress import duration, log_file, say

PYTEST = (sys.executable, "-m", "pytest", "-q")
PARALLEL = ("-n", "auto", "--dist", "worksteal")
MOSTLY_WAITING = ("-n", "4", "--dist", "worksteal", "--durations=10")
TWO_TESTS = ("-n", "2", "--dist", "worksteal", "--durations=15")
TWO_FILES = ("-n", "2", "--dist", "loadfile", "--durations=15")
UNIT = "not apiserver and not engine and not oracle and not cuda and not e2e and not clients"
FOLDERS = ("operator/tests", "images", "tools", "devtools", "e2e")
HEARTBEAT_SECONDS = 60.0


@dataclass(frozen=True)
class Stage:
    """A command with a name. It starts once the stages that it `needs` have passed and those in `after` have ended."""

    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


SOUND = ("verify", "unit")
ENGINE_ENVIRONMENT = "images/triton-vllm/env.py"
ENGINES = ("engine environment", "previous engine")
STAGES = (
    Stage("verify", (sys.executable, "-m", "tools.verify")),
    Stage("unit", (*PYTEST, *PARALLEL, "-m", UNIT, *FOLDERS)),
    Stage("binaries", (sys.executable, "-m", "e2e.cluster", "binaries", "--keep-build-cache")),  # the demo builds more
    Stage("engine environment", (sys.executable, ENGINE_ENVIRONMENT, "cpu")),
    Stage("previous engine", (sys.executable, ENGINE_ENVIRONMENT, "cpu-previous"), after=("engine environment",)),
    Stage("API server", (*PYTEST, *MOSTLY_WAITING, "-m", "apiserver", "operator/tests"), (*SOUND, "binaries")),
    Stage(
        "engine", (*PYTEST, *TWO_FILES, "-m", "engine", "images", "operator/tests"), (*SOUND, *ENGINES), ("API server",)
    ),
    Stage("oracle", (*PYTEST, "-m", "oracle", "--durations=5", "operator/tests"), SOUND, ("engine",)),
    Stage("CUDA image", (*PYTEST, *TWO_TESTS, "-m", "cuda", "images"), SOUND, ("oracle",)),
    Stage("demo", (sys.executable, "-m", "e2e.demo"), SOUND, ("engine",)),
    Stage("whole cluster", (*PYTEST, *TWO_FILES, "-m", "e2e and not alone", "e2e"), ("demo",), ("CUDA image",)),
    Stage("cluster alone", (*PYTEST, "-m", "alone", "-s", "--durations=15", "e2e"), ("demo",), ("whole cluster",)),
)


@dataclass(frozen=True)
class Result:
    """How a stage ended. `passed` is None for one that was skipped, because one that it needs has not passed."""

    stage: Stage
    passed: bool | None
    seconds: float = 0.0


class Suite:
    """Runs stages in parallel. Each writes to a log of its own, which is printed if it fails."""

    def __init__(self, stages: tuple[Stage, ...], logs: Path) -> None:
        self._stages, self._logs = {stage.name: stage for stage in stages}, logs
        self.results: dict[str, Result] = {}

    def run(self) -> bool:
        """Whether all stages passed. A stage that needs one that has not passed is skipped; the others run."""
        self._logs.mkdir(parents=True, exist_ok=True)
        graph = {stage.name: (*stage.needs, *stage.after) for stage in self._stages.values()}
        dag.run(graph, self._passes, self._ended, self._heartbeat, HEARTBEAT_SECONDS)
        return all(result.passed for result in self.results.values())

    def log(self, stage: Stage) -> Path:
        """The file that has all of a stage's output."""
        return log_file(self._logs, stage.name)

    def _passes(self, name: str) -> bool | None:
        """Run the command of a stage: whether it passed, or None if it was skipped."""
        stage = self._stages[name]
        if not all(self.results[other].passed for other in stage.needs):
            return None
        say(f"=== {name}: started; {self.log(stage)}")
        with self.log(stage).open("wb") as log:
            done = subprocess.run(stage.command, check=False, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        return done.returncode == 0

    def _ended(self, ended: dag.Ended[bool | None]) -> None:
        stage, passed = self._stages[ended.name], ended.future.result()
        self.results[stage.name] = Result(stage, passed, ended.seconds)
        if passed is None:
            return
        if not passed:
            say(self.log(stage).read_text(errors="replace"))
        word = "passed" if passed else "FAILED"
        say(f"=== {stage.name}: {word} ({duration(ended.seconds)}): {self._last(stage)}")

    def _heartbeat(self, running: Mapping[str, float]) -> None:
        say("... " + "; ".join(f"{name}: {self._last(self._stages[name])}" for name in running))

    def _last(self, stage: Stage) -> str:
        """The last line of a stage's output so far."""
        lines = self.log(stage).read_text(errors="replace").split("\n")
        return next((line.strip()[-100:] for line in reversed(lines) if line.strip()), "")


def main() -> int:
    """Exit 1 with the names of the stages that failed or were not tried."""
    begun = time.monotonic()
    suite = Suite(STAGES, cache.root() / "logs" / "suite")
    passed = suite.run()
    failed = [name for name, result in suite.results.items() if result.passed is False]
    untried = [name for name, result in suite.results.items() if result.passed is None]
    verdict = "every stage passed" if passed else f"failed: {', '.join(failed)}"
    if untried:
        verdict += f"; not tried: {', '.join(untried)}"
    times = ", ".join(
        f"{name} {duration(one.seconds)}" for name, one in suite.results.items() if one.passed is not None
    )
    say(f"\ntimes: {times}\n{verdict} ({duration(time.monotonic() - begun)})")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
