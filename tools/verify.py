"""`make verify`: static checks of the sources. Writes nothing.

The checks run side by side, the slow ones first. Each prints its time and, if it failed, the output of its tool.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tools import generate, prose, sources, unused

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "pyproject.toml"
TYPED = ("contract", "operator/src", "operator/tests", "e2e", "tools", "devtools", "images/triton-vllm")
"""Folders under strict types."""
IMPORTED = ("operator/src", "images/triton-vllm", ".")
"""Folders from which a check imports the packages."""
DISTINCT = ("contract", "operator/src", "e2e", "tools", "devtools", "images/triton-vllm/backend")
"""Folders in which no logic is written twice. Tests may repeat themselves."""
"""Number of breaches of the style that each area may still have. It only gets smaller."""

Run = Callable[[Path], str]
"""A check of the tree below a root. Returns the problems as text, empty if there are none."""


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    run: Run


@dataclass(frozen=True, slots=True)
class Outcome:
    name: str
    seconds: float
    problems: str


def tool(*arguments: str, paths: Iterable[str] = ()) -> Run:
    """A check that runs a program of the environment with `arguments` and those of `paths` that exist."""

    def run(root: Path) -> str:
        program, *options = arguments
        command = [
            str(Path(sys.executable).parent / program),
            *options,
            *(path for path in paths if (root / path).exists()),
        ]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(root / folder) for folder in IMPORTED)}
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
        return (done.stdout + done.stderr).strip() if done.returncode else ""

    return run


def every_file(rule: Callable[[Path], Iterable[str]], suffix: str = "") -> Run:
    """A check that applies `rule` to each file of the repository whose name ends with `suffix`."""

    def run(root: Path) -> str:
        files = [path for path in sources.tracked(root) if path.name.endswith(suffix)]
        return "\n".join(problem for path in files for problem in rule(path))

    return run


def generated_files(root: Path) -> str:
    """Generated files that are stale. Needs uv on the PATH, as `make` sets it."""
    return "\n".join(sources.stale(generate.files()))


def spelling(root: Path) -> str:
    """Misspelled words in the files of the repository. What is skipped and ignored is in pyproject.toml."""
    files = [str(path.relative_to(root)) for path in sources.tracked(root)]
    return tool("codespell", f"--toml={CONFIG}", paths=files)(root)


TYPES = Check("types", tool("mypy", f"--config-file={CONFIG}", paths=TYPED))
DUPLICATES = Check("duplicates", tool("pylint", f"--rcfile={CONFIG}", "--score=n", "--recursive=y", paths=DISTINCT))
LAYERS = Check("layers", tool("lint-imports", f"--config={CONFIG}", "--no-cache"))
GENERATED = Check("generated files", generated_files)
LINT = Check("lint", tool("ruff", "check", f"--config={CONFIG}", "."))
FORMAT = Check("format", tool("ruff", "format", f"--config={CONFIG}", "--check", "."))
FUNCTIONS = Check("long functions", every_file(sources.long_functions, ".py"))
NAMES = Check("private names", every_file(sources.private_names))
SPELLING = Check("spelling", spelling)
PROSE = Check("prose", lambda root: "\n".join(map(str, prose.breaches(root))))
UNUSED = Check("unused code", lambda root: "\n".join(unused.unused(root)))
EVERY = (TYPES, DUPLICATES, PROSE, UNUSED, LAYERS, GENERATED, LINT, FORMAT, FUNCTIONS, NAMES, SPELLING)


def outcome(check: Check, root: Path) -> Outcome:
    """Run one check. An exception is a problem too."""
    began = time.monotonic()
    try:
        problems = check.run(root)
    except (OSError, subprocess.CalledProcessError, SyntaxError) as error:
        problems = f"{type(error).__name__}: {error}"
    return Outcome(check.name, time.monotonic() - began, problems)


def report(done: Outcome) -> str:
    """The result in one line, with the problems indented below it."""
    word = "FAILED" if done.problems else "ok"
    lines = [f"{done.name:<16} {word:<6} {done.seconds:5.1f} s", *done.problems.splitlines()]
    return "\n    ".join(lines)


def verify(checks: Iterable[Check], root: Path, say: Callable[[str], object]) -> bool:
    """Run the checks side by side and pass the report of each to `say` as it ends. Returns whether all are clean."""
    clean = True
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for future in as_completed([pool.submit(outcome, check, root) for check in checks]):
            say(report(future.result()))
            clean &= not future.result().problems
    return clean


if __name__ == "__main__":
    sys.exit(0 if verify(EVERY, ROOT, partial(print, flush=True)) else 1)
