"""`make mutation`: what counts as killed, which changes stay in a module, and which tests of a change run."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tools import mutation, mutation_run

PACKAGE = "triton_vllm_operator"


def tried(package: str, result: str, diff: str = "") -> dict[str, Any]:
    """A row of results.json."""
    name = f"{PACKAGE}.{package}.module.x_f__mutmut_1"
    return {"name": name, "result": result, "tests": 2, "all_tests": 3, "seconds": 0.1, "diff": diff}


def test_only_a_failed_test_counts_as_killed() -> None:
    results = [tried("plan", "killed"), tried("plan", "survived", "-a\n+b"), tried("api", "no test", "-c\n+d"),
               tried("api", "timeout", "-e\n+f")]  # fmt: skip
    lines = mutation.report(results).splitlines()
    assert [line.split() for line in lines[1:4]] == [
        ["all", "4", "25.0%", "1", "1", "1", "1"],
        ["api", "2", "0.0%", "0", "0", "1", "1"],
        ["plan", "2", "50.0%", "1", "1", "0", "0"],
    ]
    assert "survived: triton_vllm_operator.plan.module.x_f__mutmut_1 (2 of 3 tests)" in lines
    assert {"+b", "+d", "+f"} <= set(lines)


MODULE = """\
def f():
    return 1
def x_f__mutmut_orig():
    return 1
def x_f__mutmut_1():
    return 2
def x_f__mutmut_2():
    return None
mutants_x_f__mutmut['_mutmut_orig'] = x_f__mutmut_orig # mutmut generated
mutants_x_f__mutmut['x_f__mutmut_1'] = x_f__mutmut_1 # mutmut generated
mutants_x_f__mutmut['x_f__mutmut_2'] = x_f__mutmut_2 # mutmut generated
"""


def test_changes_that_are_not_in_the_sample_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(MODULE)
    spans = {"x_f__mutmut_orig": [3, 4], "x_f__mutmut_1": [5, 6], "x_f__mutmut_2": [7, 8]}
    (tmp_path / "module.py.spans").write_text(json.dumps({"spans": spans}))
    kept = [line for number, line in enumerate(MODULE.splitlines(keepends=True), 1) if number not in (5, 6, 10)]
    assert mutation_run.reduced(path, "plain", {"x_f__mutmut_2"}) == "".join(kept)
    assert mutation_run.reduced(path, "plain", set()) == "plain"


def test_the_tests_that_call_least_run_first_and_only_as_long_as_they_may() -> None:
    tests = [cast(pytest.Item, SimpleNamespace(nodeid=name)) for name in ("wide", "slow", "narrow")]
    reach, durations = Counter(wide=9, slow=2, narrow=1), {"wide": 1.0, "slow": 5.0, "narrow": 1.0}

    def names(seconds: float) -> list[str]:
        return [test.nodeid for test in mutation_run.ranked(tests, reach, durations, seconds)]

    assert names(60) == ["narrow", "slow", "wide"]
    assert names(6) == ["narrow", "slow"]
    assert names(0.1) == ["narrow"]


def test_calls_are_recorded_and_one_function_is_changed() -> None:
    calls = mutation_run.Calls()

    class Owner:
        @classmethod
        def orig(cls) -> str:
            return f"{cls.__name__} as it was"

        @classmethod
        def changed(cls) -> str:
            return f"{cls.__name__} changed"

    def method() -> str:
        raise AssertionError("a form is called in its place")

    method.__qualname__, method.__module__ = "Owner.method", "m"
    called = calls.decorator({"_mutmut_orig": Owner.orig, "changed": Owner.changed}, True)(method)
    assert called(Owner) == "Owner as it was"
    assert calls.reached == {"m.xǁOwnerǁmethod"}
    calls.function, calls.form = "m.xǁOwnerǁmethod", "changed"
    assert called(Owner) == "Owner changed"
    calls.function = "m.x_other"
    assert called(Owner) == "Owner as it was"


@pytest.mark.parametrize(
    ("change", "function"),
    [
        ("a.b.x_c__mutmut_12", "a.b.x_c"),
        ("a.b.__init__.x_c__mutmut_1", "a.b.x_c"),
        ("a.b.xǁCǁ__init____mutmut_1", "a.b.xǁCǁ__init__"),
    ],
)
def test_the_function_of_a_change(change: str, function: str) -> None:
    assert mutation_run.function_of(change) == function
