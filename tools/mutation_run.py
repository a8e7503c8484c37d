"""Tries a sample of changes in the copy of the tree that tools/mutation.py laid out. Runs where mutmut is installed.

mutmut makes all changes: each function becomes a call of its original or of one of its changed forms. The rest is done
here. Changes that are not in the sample are left out again, since thousands of them take long to import. In one session
of pytest, all tests run once on the unchanged code, which records the functions that each of them calls. Then a process
is forked per change, in which nothing has to be imported or collected again.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import random
import re
import resource
import shutil
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import chdir, redirect_stdout
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

PACKAGE = "triton_vllm_operator"
KEPT_CACHES = frozenset({"_load_yaml", "_load_json", "messages"})
"""Cached functions that only read files: reading them again for each test would take most of the time."""
PREPARED = Path("mutants", "prepared")
"""Empty file: all changes are made."""


@dataclass(slots=True)
class Calls:
    """Which functions are called, and the changed form that is called in place of one of them.

    Attributes:
        reached: functions that were called since it was cleared.
        function: the changed function, as mutmut names it; "" for none.
        form: name of its changed form.
    """

    reached: set[str] = field(default_factory=set)
    function: str = ""
    form: str = ""

    def decorator(self, forms: dict[str, Any], is_classmethod: bool = False) -> Callable[[Any], Any]:
        """What mutmut's code puts on each function. `forms`: the original and the changed forms, by name."""

        def decorate(function: Any) -> Any:
            owner, _, method = function.__qualname__.rpartition(".")
            name = f"{function.__module__}.{f'xǁ{owner}ǁ' if owner else 'x_'}{method}"

            @functools.wraps(function)
            def called(*args: Any, **kwargs: Any) -> Any:
                self.reached.add(name)
                one = forms[self.form if name == self.function else "_mutmut_orig"]
                if is_classmethod:
                    return getattr(args[0], one.__name__)(*args[1:], **kwargs)
                return one(*args, **kwargs)

            return called

        return decorate


CALLS = Calls()


@dataclass(frozen=True, slots=True)
class Tried:
    """One change and the result of its tests.

    Attributes:
        result: killed, survived, timeout, or "no test" when no test calls the function.
        tests: number of tests that could run.
        all_tests: number of tests that call the function.
        diff: of the function, unless the change was killed.
    """

    name: str
    result: str
    tests: int
    all_tests: int
    seconds: float
    diff: str


def clear_caches(kept: frozenset[str] = KEPT_CACHES) -> None:
    """Clear the caches of the package's functions, so that no test sees what another one has computed."""
    for module in [module for name, module in list(sys.modules.items()) if name.startswith(PACKAGE)]:
        for value in list(vars(module).values()):
            if hasattr(value, "cache_clear") and value.__name__ not in kept:
                value.cache_clear()


def ranked(
    tests: Iterable[pytest.Item], reach: Counter[str], durations: dict[str, float], seconds: float
) -> list[pytest.Item]:
    """Return the tests that call the fewest functions first, as they say most about each; up to `seconds` of them."""
    result: list[pytest.Item] = []
    left = seconds
    for test in sorted(tests, key=lambda test: (reach[test.nodeid], durations[test.nodeid], test.nodeid)):
        left -= durations[test.nodeid]
        if result and left < 0:
            break
        result.append(test)
    return result


class Session:
    """Plugin of pytest that runs the tests once as they are, and then those of each change.

    Attributes:
        root: folder of the tree, in a folder of which the tests run.
        failed: names of tests that failed.
        results: of the changes that were tried so far.
    """

    def __init__(self, root: Path, changes: Sequence[str], seconds: float) -> None:
        self.root = root
        self.changes = changes
        self.seconds = seconds
        self.failed: list[str] = []
        self.results: list[Tried] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a failure."""
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run all."""
        if session.testsfailed:
            self.failed.append("collection")
            return True
        reaching: dict[str, list[pytest.Item]] = defaultdict(list)
        durations: dict[str, float] = {}
        for item, following in zip(session.items, [*session.items[1:], None], strict=True):
            start = time.process_time()
            run(item, following)
            durations[item.nodeid] = time.process_time() - start + 0.001
            for function in CALLS.reached:
                reaching[function].append(item)
        if self.failed:
            return True
        show(f"{len(session.items)} tests take {sum(durations.values()):.0f} s")
        reach = Counter(item.nodeid for items in reaching.values() for item in items)
        for number, change in enumerate(self.changes, 1):
            items = reaching[function_of(change)]
            tried = self.attempt(change, ranked(items, reach, durations, self.seconds), len(items))
            self.results.append(tried)
            show(f"{number}/{len(self.changes)} {tried.result} in {tried.seconds} s by {tried.tests} tests: {change}")
            (self.root / "results.json").write_text(json.dumps([asdict(one) for one in self.results], indent=1))
        return True

    def attempt(self, change: str, tests: list[pytest.Item], all_tests: int) -> Tried:
        """Try one change in a process of its own."""
        start = time.monotonic()
        result = "no test"
        if tests:
            pid = os.fork()
            if pid == 0:
                self._in_child(change, tests)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            result = {0: "survived", 1: "killed"}.get(code, "timeout" if code < 0 else "killed")
        seconds = round(time.monotonic() - start, 2)
        with chdir(self.root):
            diff = "" if result == "killed" else import_module("mutmut.mutation.diff_apply").get_diff_for_mutant(change)
        return Tried(change, result, len(tests), all_tests, seconds, diff)

    def _in_child(self, change: str, tests: list[pytest.Item]) -> None:
        code = 3
        try:
            limit = int(10 + 10 * self.seconds)
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
            CALLS.function = function_of(change)
            CALLS.form = change.rpartition(".")[2]
            clear_caches(frozenset({"messages"}))
            for test, following in zip(tests, [*tests[1:], None], strict=True):
                run(test, following)
                if self.failed:
                    break
            code = 1 if self.failed else 0
        finally:
            os._exit(code)


def function_of(change: str) -> str:
    """`a.b.x_c` of `a.b.x_c__mutmut_1`: the function that is changed, as `Calls` names it."""
    return change.rpartition("__mutmut_")[0].replace(".__init__.", ".")


def run(item: pytest.Item, following: pytest.Item | None) -> None:
    """Run one test with its fixtures; `CALLS.reached` then has the functions that it called."""
    clear_caches()
    CALLS.reached.clear()
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)


def show(line: str) -> None:
    """Write a line to the terminal: the tests' own output goes to a file."""
    os.write(TERMINAL, f"{line}\n".encode())


TERMINAL = os.dup(1)


def prepare(workers: int) -> list[str]:
    """Make the changes and return their names."""
    trampoline: Any = import_module("mutmut.mutation.trampoline")
    trampoline.wrap_in_trampoline = CALLS.decorator
    main = import_module("mutmut.__main__")
    Path("mutants").mkdir(exist_ok=True)
    with Path("mutation.log").open("w") as log, redirect_stdout(log):
        main.copy_src_dir()
        main.copy_also_copy_files()
        main.create_mutants(workers)
    PREPARED.touch()
    return sorted(name for _, name, _ in main.collect_source_file_mutation_data(mutant_names=())[0])


_FORM = re.compile(r"^mutants_\S+\['(x\S+__mutmut_\d+)'\] = ")


def reduced(path: Path, source: str, names: set[str]) -> str:
    """Return the text of a module with these changes only; `source` is the text without any.

    Args:
        path: of the module with all changes; mutmut has written the lines of each beside it.
        names: changed forms, such as `x_read__mutmut_1`.
    """
    if not names:
        return source
    spans = json.loads(Path(f"{path}.spans").read_text())["spans"]
    left_out: set[int] = set()
    for name, (first, last) in spans.items():
        if not name.endswith("_orig") and name not in names:
            left_out |= set(range(first, last + 1))
    lines = enumerate(path.read_text().splitlines(keepends=True), 1)
    kept = (line for number, line in lines if number not in left_out)
    return "".join(line for line in kept if (form := _FORM.match(line)) is None or form[1] in names)


def lay_out(changes: Sequence[str]) -> None:
    """Make the folder `trial`, a copy of `mutants` with these changes only."""
    shutil.rmtree("trial", ignore_errors=True)
    shutil.copytree("mutants", "trial", ignore=shutil.ignore_patterns("*.meta", "*.spans"))
    names: dict[str, set[str]] = defaultdict(set)
    for change in changes:
        module, _, name = change.rpartition(".")
        names[module].add(name)
    for path in Path("src", PACKAGE).rglob("*.py"):
        module = ".".join(path.with_suffix("").parts[1:])
        text = reduced(Path("mutants", path), path.read_text(), names[module] | names[module.removesuffix(".__init__")])
        Path("trial", path).write_text(text)


def main() -> int:
    """Write results.json. Return the exit code: 1 without changes, or if a test fails on unchanged code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sample", type=int, required=True, help="0 for all")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--only", nargs="+", required=True, help="parts of names")
    parser.add_argument("--pytest", required=True, help="JSON list of pytest's arguments")
    arguments = parser.parse_args()
    names = [name for name in prepare(arguments.workers) if any(part in name for part in arguments.only)]
    count = min(arguments.sample or len(names), len(names))
    changes = random.Random(arguments.seed).sample(names, count)  # in random order: a part of them is a sample too
    lay_out(changes)
    session = Session(Path.cwd(), changes, arguments.seconds)
    show(f"{count} of {len(names)} changes")
    log = os.open("tests.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    with chdir("trial"):
        pytest.main(json.loads(arguments.pytest), plugins=[session])
    if session.failed:
        show(f"Failed without a change: {', '.join(session.failed[:5])}. See {Path('tests.log').absolute()}.")
    return 0 if session.results else 1


if __name__ == "__main__":
    raise SystemExit(main())
