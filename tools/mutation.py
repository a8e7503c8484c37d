"""`make mutation`: which one-line changes of the pure packages no unit test notices.

mutmut changes one expression at a time; `tools/mutation_run.py` runs the unit tests that call the changed function. A
change that no test notices is a survivor: a missing test, or a change without an effect. The tree is copied to the
cache folder first, so the checkout is never changed. Only a failed test counts as killed; a change of a function that
no test calls, and one whose tests do not end, count as survivors.

    make mutation ARGS="--sample 150 --seed 7"              # of all pure packages
    make mutation ARGS="--packages observed plan --all"     # every change of two packages
    make mutation ARGS="--only .drift. --sample 40 --keep"  # of one module; unchanged files are not changed again

Making all changes takes minutes, and so does one run of the tests; each change then takes a second or less.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from devtools import cache
from tools import sources

ROOT = Path(__file__).parent.parent
PURE = ("api", "capacity", "catalog", "desired", "observed", "plan")
"""Packages without I/O: each decision has a unit test, or it is a survivor."""
MUTMUT = "mutmut==3.8.1"
TESTS = ("api", "capacity", "catalog", "cli", "desired", "observed", "plan", "webhook")
"""Folders of operator/tests that run against changed code: those of the pure packages, and of what only calls them."""
LEFT_OUT = (
    "test_generated", "test_troubleshooting", "registered", "literal", "process", "hub", "import_takes", "delay",
    "ten_thousand",
)  # fmt: skip
"""Words in names of tests that read the source text, start a process, measure time or take minutes: they fail, miss the
change, or take too long."""
PREPARED = "mutants/prepared"
"""File that says that all changes are made."""
CONFIG = """
[tool.mutmut]
source_paths = ["src"]
only_mutate = {patterns}
do_not_mutate = ["*/__main__.py"]
also_copy = {copied}
"""
MARKS = "not apiserver and not engine and not oracle and not cuda and not e2e and not clients and not slow"


def lay_out(tree: Path, keep: bool) -> None:
    """A copy of the tracked files in `tree` with a configuration of mutmut, which wants the package in `src`.

    With `keep`, the changes of files that are the same since the last run are not made again.
    """
    if not keep or not (tree / PREPARED).exists():
        shutil.rmtree(tree, ignore_errors=True)
    names = {path.relative_to(ROOT).as_posix(): path for path in sources.tracked(ROOT)}
    contents = {_place(name): path.read_bytes() for name, path in names.items()}
    config = (ROOT / "pyproject.toml").read_text().replace('"operator/src"', '"src"')
    patterns = [f"src/triton_vllm_operator/{package}/*" for package in PURE]
    copied = sorted({name.partition("/")[0] for name in names} - {"pyproject.toml"})
    contents["pyproject.toml"] = (
        f"{config}{CONFIG.format(copied=json.dumps(copied), patterns=json.dumps(patterns))}".encode()
    )
    for folder in (tree, tree / "mutants"):
        for path in [*(folder / "src").rglob("*.py"), *(folder / "operator").rglob("*.py")]:
            if path.relative_to(folder).as_posix() not in contents:
                path.unlink()
    for name, content in contents.items():
        path = tree / name
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            if path.suffix != ".py":
                (tree / "mutants" / name).unlink(missing_ok=True)
    subprocess.run(["git", "init", "-q", "."], cwd=tree, check=True)  # the tests list tracked files


def _place(name: str) -> str:
    return name.removeprefix("operator/") if name.startswith("operator/src/") else name


def pytest_arguments(tests: list[str]) -> list[str]:
    """How these tests run, given by their paths below operator/tests."""
    tests = [f"operator/tests/{path}" for path in tests]
    words = " and ".join(f"not {word}" for word in LEFT_OUT)
    plugins = [f"-pno:{name}" for name in ("cacheprovider", "xdist", "randomly")]
    return [*tests, "-q", "-s", "-m", MARKS, "-k", words, "--rootdir=.", "--timeout=1800", *plugins]


def package_of(name: str) -> str:
    """`observed` of `triton_vllm_operator.observed.pods.x_read__mutmut_1`."""
    return name.split(".")[1]


def report(results: list[dict[str, Any]]) -> str:
    """The share of the changes that tests noticed, by package, and the others as diffs."""
    kinds = ("killed", "survived", "no test", "timeout")
    rows = {"all": Counter(tried["result"] for tried in results)}
    for package in PURE:
        rows[package] = Counter(tried["result"] for tried in results if package_of(tried["name"]) == package)
    lines = [f"{'':12} {'tried':>8} {'share':>8} " + " ".join(f"{kind:>8}" for kind in kinds)]
    for name, counts in rows.items():
        if total := counts.total():
            cells = " ".join(f"{counts[kind]:8}" for kind in kinds)
            lines.append(f"{name:12} {total:8} {counts['killed'] / total:8.1%} {cells}")
    lines += [
        f"\n{tried['result']}: {tried['name']} ({tried['tests']} of {tried['all_tests']} tests)\n{tried['diff']}"
        for tried in results
        if tried["result"] != "killed"
    ]
    return "\n".join(lines)


def main() -> int:
    """Run, print the report and keep it beside the tree. Return the exit code: 1 without a result."""
    parser = argparse.ArgumentParser(prog="make mutation", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--packages", nargs="+", default=list(PURE), choices=PURE)
    parser.add_argument("--sample", type=int, default=200, help="number of changes that are tried (default 200)")
    parser.add_argument("--all", action="store_true", help="try every change")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60, help="of tests per change (default 60)")
    parser.add_argument("--workers", type=int, default=2, help="processes that make the changes (default 2)")
    parser.add_argument("--only", nargs="+", default=[], help="changes whose name has one of these texts")
    parser.add_argument("--tests", nargs="+", default=list(TESTS), help="folders and files of operator/tests")
    parser.add_argument("--keep", action="store_true", help="use what the last run recorded of unchanged files")
    arguments = parser.parse_args()
    tree = cache.root() / "mutation" / "tree"
    lay_out(tree, arguments.keep)
    (tree / "results.json").unlink(missing_ok=True)
    command = [
        str(cache.uv()), "run", "--quiet", "--project", str(ROOT), "--frozen", "--all-extras", "--isolated",
        "--with", MUTMUT, "python", str(ROOT / "tools" / "mutation_run.py"),
        "--sample", "0" if arguments.all else str(arguments.sample), "--seed", str(arguments.seed),
        "--seconds", str(arguments.seconds), "--workers", str(arguments.workers),
        "--pytest", json.dumps(pytest_arguments(arguments.tests)),
        "--only", *(arguments.only or [f".{package}." for package in arguments.packages]),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tree, check=False)
    if not (tree / "results.json").exists():
        return 1
    text = report(json.loads((tree / "results.json").read_text()))
    (tree.parent / "report.txt").write_text(text)
    sys.stdout.write(f"{text}\n")
    return done.returncode


if __name__ == "__main__":
    raise SystemExit(main())
