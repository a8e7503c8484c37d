"""The engine's answers, asked once a session: one process a vLLM version, both at the same time."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from .cases import QUESTIONS, kv_cases, weight_cases
from .engine import Answered, ask_engine

ENVIRONMENT = Path(__file__).parents[3] / "images/triton-vllm/env.py"
#: Variants of the engine's environment: the version that the image serves, and the minor version before.
VARIANTS = ("cpu", "cpu-previous")
#: Seconds for all answers of one version; a run takes about one and a half minutes on two busy cores.
LIMIT = 1500


def ask(variant: str, models: int) -> list[Answered]:
    """All cases with the answers of one version, whose environment is built when it is not there."""
    python = str(runpy.run_path(str(ENVIRONMENT))["ensure"](variant))
    return ask_engine(python, [*kv_cases(models), *weight_cases()], LIMIT)


@pytest.fixture(scope="session")
def running(request: pytest.FixtureRequest) -> dict[str, Future[list[Answered]]]:
    """Both versions' answers, being asked."""
    models = -(-int(request.config.getoption("--oracle-cases")) // QUESTIONS)
    pool = ThreadPoolExecutor(len(VARIANTS))
    return {variant: pool.submit(ask, variant, models) for variant in VARIANTS}


@pytest.fixture(scope="session", params=VARIANTS)
def answers(request: pytest.FixtureRequest, running: dict[str, Future[list[Answered]]]) -> list[Answered]:
    """Every case with the answer of one version."""
    return running[request.param].result(LIMIT)


@pytest.fixture
def of_family(answers: list[Answered]) -> Callable[[str], list[Answered]]:
    """The answers to the cases of one family; a case that the engine could not build is an error."""

    def pick(family: str) -> list[Answered]:
        found = [one for one in answers if one.case["family"] == family]
        broken = [(one.case["id"], one.answer["error"]) for one in found if "error" in one.answer]
        assert found
        assert not broken
        return found

    return pick


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test here asks the engine."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.oracle)
            item.add_marker(pytest.mark.timeout(LIMIT))
