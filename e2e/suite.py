"""`make test`: every check and test of the project, the quick ones first.

Stages that start engines or compile have the machine for themselves: beside others they take longer, and some of their
tests give the operator seconds. Most of an engine's start runs on one core, so within a stage two files of tests run
side by side.
"""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import settings, steps

PYTEST = (sys.executable, "-m", "pytest", "-q")
PARALLEL = ("-n", "auto", "--dist", "worksteal")
MOSTLY_WAITING = ("-n", "4", "--dist", "worksteal", "--durations=10")
TWO_TESTS = ("-n", "2", "--dist", "worksteal", "--durations=15")
TWO_FILES = ("-n", "2", "--dist", "loadfile", "--durations=15")
UNIT = "not apiserver and not engine and not oracle and not cuda and not e2e"
FOLDERS = ("operator/tests", "images", "tools", "e2e")
HEARTBEAT_SECONDS = 60.0


@dataclass(frozen=True)
class Stage:
    """One command with a name. It starts once all that it `needs` have passed and all that it is `after` have ended."""

    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


SOUND = ("verify", "unit")
STAGES = (
    Stage("verify", (sys.executable, "-m", "tools.verify")),
    Stage("unit", (*PYTEST, *PARALLEL, "-m", UNIT, *FOLDERS)),
    Stage("programs", (sys.executable, "-m", "e2e.cluster", "programs")),
    Stage("API server", (*PYTEST, *MOSTLY_WAITING, "-m", "apiserver", "operator/tests"), (*SOUND, "programs")),
    Stage("engine", (*PYTEST, *TWO_FILES, "-m", "engine", "images", "operator/tests"), SOUND, ("API server",)),
    Stage("oracle", (*PYTEST, "-m", "oracle", "operator/tests"), SOUND, ("engine",)),
    Stage("CUDA image", (*PYTEST, *TWO_TESTS, "-m", "cuda", "images"), SOUND, ("oracle",)),
    Stage("demo", (sys.executable, "-m", "e2e.demo"), SOUND, ("engine",)),
    Stage("whole cluster", (*PYTEST, *TWO_FILES, "-m", "e2e and not alone", "e2e"), ("demo",), ("CUDA image",)),
    Stage("cluster alone", (*PYTEST, "-m", "alone", "-s", "--durations=15", "e2e"), ("demo",), ("whole cluster",)),
)


@dataclass(frozen=True)
class Result:
    """How a stage ended. `passed` is None for one that was not tried, because one before it failed."""

    stage: Stage
    passed: bool | None
    seconds: float = 0.0


class Suite:
    """Runs stages side by side. Each writes to a log of its own, which is shown when it has failed."""

    def __init__(self, stages: tuple[Stage, ...], logs: Path) -> None:
        self._stages, self._logs = stages, logs
        self.results: dict[str, Result] = {}

    def run(self) -> bool:
        """Whether all passed. A stage that needs one that failed is not tried; the others are."""
        self._logs.mkdir(parents=True, exist_ok=True)
        waiting, running = list(self._stages), dict[Future[bool], tuple[Stage, float]]()
        with ThreadPoolExecutor(max_workers=len(self._stages)) as pool:
            while waiting or running:
                for stage in [one for one in waiting if self._decided(one)]:
                    waiting.remove(stage)
                    if all(self.results[name].passed for name in stage.needs):
                        steps.say(f"=== {stage.name}: started; {self.log(stage)}")
                        running[pool.submit(self._passes, stage)] = (stage, time.monotonic())
                    else:
                        self.results[stage.name] = Result(stage, None)
                done, _ = wait(running, timeout=HEARTBEAT_SECONDS, return_when=FIRST_COMPLETED)
                for future in done:
                    stage, begun = running.pop(future)
                    self._finish(Result(stage, future.result(), time.monotonic() - begun))
                if not done and running:
                    steps.say("... " + "; ".join(f"{stage.name}: {self._last(stage)}" for stage, _ in running.values()))
        return all(result.passed for result in self.results.values())

    def log(self, stage: Stage) -> Path:
        """The file that has all of a stage's output."""
        return self._logs / f"{stage.name.replace(' ', '-')}.log"

    def _decided(self, stage: Stage) -> bool:
        return all(name in self.results for name in (*stage.needs, *stage.after))

    def _passes(self, stage: Stage) -> bool:
        with self.log(stage).open("wb") as log:
            done = subprocess.run(stage.command, check=False, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        return done.returncode == 0

    def _finish(self, result: Result) -> None:
        self.results[result.stage.name] = result
        if not result.passed:
            steps.say(self.log(result.stage).read_text(errors="replace"))
        word = "passed" if result.passed else "FAILED"
        steps.say(f"=== {result.stage.name}: {word} ({steps.duration(result.seconds)}): {self._last(result.stage)}")

    def _last(self, stage: Stage) -> str:
        """The last line of a stage's output so far."""
        lines = self.log(stage).read_text(errors="replace").split("\n")
        return next((line.strip()[-100:] for line in reversed(lines) if line.strip()), "")


def main() -> int:
    """Exit 1 with the names of the stages that failed or were not tried."""
    begun = time.monotonic()
    suite = Suite(STAGES, settings.cache_root() / "logs" / "suite")
    passed = suite.run()
    failed = [name for name, result in suite.results.items() if result.passed is False]
    untried = [name for name, result in suite.results.items() if result.passed is None]
    verdict = "every stage passed" if passed else f"failed: {', '.join(failed)}"
    if untried:
        verdict += f"; not tried: {', '.join(untried)}"
    steps.say(f"\n{verdict} ({steps.duration(time.monotonic() - begun)})")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
