"""`make test`: every check and test of the project, the quick ones first."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass

from e2e.cluster import steps

PYTEST = (sys.executable, "-m", "pytest", "-q")
FOLDERS = ("operator/tests", "images", "tools", "e2e")
# Tests that were seen green on the machine that CI runs on. The others of these folders run with `make test-engine` and
# `make test-e2e`; each joins once it has passed there on an idle machine.
PROVEN_ENGINE = ("images/triton-vllm/backend_tests/test_contract.py",)
PROVEN_CLUSTER = tuple(f"e2e/tests/test_{name}.py" for name in ("one_answer", "life", "causes", "gpus"))


@dataclass(frozen=True)
class Stage:
    """One command with a name."""

    name: str
    command: tuple[str, ...]


STAGES = (
    Stage("verify", (sys.executable, "-m", "tools.verify")),
    Stage("unit", (*PYTEST, "-m", "not apiserver and not engine and not oracle and not e2e", *FOLDERS)),
    Stage("demo", (sys.executable, "-m", "e2e.demo")),
    Stage("API server", (*PYTEST, "-m", "apiserver", "operator/tests")),
    Stage("oracle", (*PYTEST, "-m", "oracle", "operator/tests")),
    Stage("engine", (*PYTEST, "-m", "engine", *PROVEN_ENGINE)),
    Stage("whole cluster", (*PYTEST, "-m", "e2e", "-s", *PROVEN_CLUSTER)),
)


NEEDED = ("verify", "unit", "demo")


def run(stage: Stage) -> bool:
    """Whether the stage passes."""
    steps.say(f"\n=== {stage.name}")
    begun = time.monotonic()
    passed = subprocess.run(stage.command, check=False).returncode == 0
    steps.say(f"=== {stage.name}: {'passed' if passed else 'FAILED'} ({steps.duration(time.monotonic() - begun)})")
    return passed


def main() -> int:
    """Exit 1 with the names of the stages that failed. Without a sound tree or a cluster nothing else is tried."""
    begun = time.monotonic()
    failed = []
    for stage in STAGES:
        if not run(stage):
            failed.append(stage.name)
            if stage.name in NEEDED:
                break
    took = steps.duration(time.monotonic() - begun)
    steps.say(f"\n{'failed: ' + ', '.join(failed) if failed else 'every stage passed'} ({took})")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
