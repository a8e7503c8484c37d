"""A cluster with the chart installed, a client pod in it, and a namespace for each file of tests."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from devtools import cache
from e2e import demo, environment
from e2e.client import Client
from e2e.cluster import shell
from e2e.cluster.images import binaries
from e2e.environment import Environment
from e2e.hub import manifests
from e2e.tests import evidence
from e2e.tests.deployments import STANDING, Namespace, llm

HERE = Path(__file__).parent
TEST_SECONDS = 1200
"""A limit against hangs alone: engines start at the speed of a shared machine."""
ALONE = ("test_throughput", "test_chart", "test_repair", "test_leftovers")
"""Files that disturb the whole cluster, or that others would disturb: they run alone, at the end, in this order."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder; those that run alone come last."""
    if missing := [name for name in ALONE if not (HERE / f"{name}.py").exists()]:
        raise pytest.UsageError(
            f"ALONE names {', '.join(missing)}, which is not in {HERE.name}: it would run beside others"
        )
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(TEST_SECONDS))
            if item.path.stem in ALONE:
                item.add_marker(pytest.mark.alone)
    items.sort(key=lambda item: ALONE.index(item.path.stem) + 1 if item.path.stem in ALONE else 0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Report with a failure where the state of the cluster is kept."""
    report = yield
    env = getattr(item, "funcargs", {}).get("env")
    if report.failed and env is not None:
        folder = evidence.collect(env, cache.root() / "logs" / "failures" / item.name)
        report.sections.append(("cluster", f"its state is kept in {folder}\n\n{evidence.summary(folder)}"))
    return report


@pytest.fixture(scope="session")
def env() -> Iterator[Environment]:
    """The cluster of this checkout, or with CLUSTER=existing the current context; the chart is installed."""
    with cache.locked(cache.root() / "tests.lock"):  # several pytest processes may start at once
        prepared = environment.prepare()
        _delete_the_demo(prepared)
    yield prepared
    binaries.clear_build_cache()


@pytest.fixture(scope="session")
def client(env: Environment) -> Client:
    """A pod that sends requests, for this pytest process alone."""
    made = Client(env, f"client-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}")
    made.start()
    return made


@pytest.fixture(scope="module")
def namespace(env: Environment, request: pytest.FixtureRequest) -> Iterator[Namespace]:
    """A namespace of the test file's own."""
    made = _namespace(env, request.path.stem.replace("_", "-"))
    yield made
    _remove(made)


@pytest.fixture(scope="session")
def standing(env: Environment) -> Iterator[Namespace]:
    """A namespace with one deployment that serves, for the files that run alone."""
    made = _namespace(env, "test-standing")
    made.apply(llm(STANDING, engine={"maxNumSeqs": 128}))
    made.wait_ready(STANDING)
    yield made
    with contextlib.suppress(shell.CommandFailed):  # test_leftovers has removed the cluster
        _remove(made)


def _namespace(env: Environment, name: str) -> Namespace:
    env.kubectl("delete", "namespace", name, "--ignore-not-found", "--timeout=90s")
    env.apply(manifests.namespace(name))
    return Namespace(env, name)


def _delete_the_demo(env: Environment) -> None:
    """Delete the demo's deployment: the node's memory is enough for two files of tests, and not for it too."""
    env.kubectl("delete", "llm", demo.NAME, "-n", demo.NAMESPACE, "--ignore-not-found", "--wait=false")


def _remove(namespace: Namespace) -> None:
    namespace.env.kubectl("delete", "namespace", namespace.name, "--ignore-not-found", "--wait=false")
