"""`make mutation`: which one-line changes of the pure packages no unit test notices.

mutmut changes one expression at a time and runs the unit tests that reach it. A change that no test notices is a
survivor: a missing test, or a change without an effect. The tree is copied to the cache folder first, so the checkout
is never changed. A sample of a fixed seed gives the share killed in minutes; all changes take hours.

    make mutation ARGS="--sample 400"                       # of all pure packages
    make mutation ARGS="--packages observed plan --all"     # every change of two packages
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from devtools import cache
from tools import sources

ROOT = Path(__file__).parent.parent
PURE = ("api", "capacity", "catalog", "desired", "observed", "plan")
"""Packages without I/O: each decision has a unit test, or it is a survivor."""
MUTMUT = "mutmut==3.8.1"
TESTS = ("api", "capacity", "catalog", "cli", "controller", "desired", "observed", "plan", "schema", "webhook")
"""Folders of operator/tests that run against changed code. Others start programs or read no changed code."""
LEFT_OUT = (
    "test_generated", "test_troubleshooting", "registered", "literal", "process", "hub", "import_takes", "delay",
)  # fmt: skip
"""Words in names of tests that read the source text, start a process or measure time: they fail, or miss the change."""
CONFIG = """
[tool.mutmut]
source_paths = ["src"]
only_mutate = {patterns}
do_not_mutate = ["*/__main__.py"]
also_copy = {copied}
pytest_add_cli_args_test_selection = {tests}
pytest_add_cli_args = ["-q", "-m", "{marks}", "-k", "{words}", "-p", "no:cacheprovider", "-p", "no:xdist"]
"""
MARKS = "not apiserver and not engine and not oracle and not cuda and not e2e and not clients and not slow"


def lay_out(tree: Path, packages: list[str]) -> None:
    """A copy of the tracked files in `tree` with a configuration of mutmut, which wants the package in `src`."""
    shutil.rmtree(tree, ignore_errors=True)
    for path in sources.tracked(ROOT):
        target = tree / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    (tree / "operator" / "src").rename(tree / "src")
    config = (ROOT / "pyproject.toml").read_text().replace('"operator/src"', '"src"')
    patterns = [f"src/triton_vllm_operator/{package}/*" for package in packages]
    tests = [f"operator/tests/{folder}" for folder in TESTS]
    words = " and ".join(f"not {word}" for word in LEFT_OUT)
    copied = sorted({path.relative_to(ROOT).parts[0] for path in sources.tracked(ROOT)} - {"pyproject.toml"})
    config += CONFIG.format(
        copied=json.dumps(copied), patterns=json.dumps(patterns), tests=json.dumps(tests), marks=MARKS, words=words
    )
    (tree / "pyproject.toml").write_text(config)
    subprocess.run(["git", "init", "-q", "."], cwd=tree, check=True)  # the tests list tracked files


def mutmut(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """mutmut in an environment of its own, with the project's dependencies."""
    command = [
        str(cache.uv()), "run", "--quiet", "--project", str(ROOT), "--frozen", "--all-extras",
        "--isolated", "--with", MUTMUT, "mutmut", *arguments,
    ]  # fmt: skip
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)


def changes(tree: Path) -> dict[str, int | None]:
    """Name of each change -> exit code of its tests: 0 is a survivor, None was not run."""
    found: dict[str, int | None] = {}
    for meta in sorted((tree / "mutants").rglob("*.py.meta")):
        found.update(json.loads(meta.read_text())["exit_code_by_key"])
    return found


def package_of(name: str) -> str:
    """`observed` of `triton_vllm_operator.observed.pods.x_read__mutmut_1`."""
    return name.split(".")[1]


def report(tree: Path, chosen: list[str]) -> str:
    """The share of the chosen changes that tests noticed, by package, and the survivors as diffs."""
    codes = changes(tree)
    ran = [name for name in chosen if codes.get(name) is not None]
    survivors = [name for name in ran if codes[name] == 0]
    all_of, left = Counter(map(package_of, ran)), Counter(map(package_of, survivors))
    lines = [f"{package:12} {1 - left[package] / count:6.1%} of {count} killed" for package, count in all_of.items()]
    lines.append(f"{'all':12} {1 - len(survivors) / max(1, len(ran)):6.1%} of {len(ran)} killed")
    lines += [mutmut(tree, "show", name).stdout.strip() for name in survivors]
    return "\n".join(lines)


def main() -> int:
    """Run, print the report and keep it beside the tree; 1 when mutmut could not run the tests at all."""
    parser = argparse.ArgumentParser(prog="make mutation", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--packages", nargs="+", default=list(PURE), choices=PURE)
    parser.add_argument("--sample", type=int, default=400, help="number of changes that are tried (default 400)")
    parser.add_argument("--all", action="store_true", help="try every change")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    tree = cache.root() / "mutation" / "tree"
    lay_out(tree, arguments.packages)
    prepared = mutmut(tree, "run", "--max-children", str(arguments.workers), "no.such.change")
    names = sorted(changes(tree))
    if not names:
        sys.stderr.write(prepared.stdout[-4000:] + prepared.stderr[-4000:])
        return 1
    chosen = names if arguments.all else random.Random(arguments.seed).sample(names, min(arguments.sample, len(names)))
    done = mutmut(tree, "run", "--max-children", str(arguments.workers), *chosen)
    if not any(code is not None for code in changes(tree).values()):
        sys.stderr.write(done.stdout[-4000:] + done.stderr[-4000:])
        return 1
    text = report(tree, sorted(chosen))
    (tree.parent / "report.txt").write_text(text)
    sys.stdout.write(f"{text}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
