"""Options of the whole test suite, and which API server a test runs against."""

from __future__ import annotations

import os

import pytest

from e2e.cluster import settings
from e2e.cluster.images import binaries
from tests.apiserver.fixtures import SUMMARY
from tests.order import long_first


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--oracle-cases N`: how many shapes x settings are compared with vLLM's own code."""
    parser.addoption("--oracle-cases", type=int, default=1104, help="shapes x settings asked of vLLM (default 1104)")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests of the API server's own behaviour, marked every_version, meet every supported one; the rest the default.

    What we do with children is the same on all of them, and each version takes the tests' whole time once more.
    """
    if "plane" in metafunc.fixturenames:
        everywhere = metafunc.definition.get_closest_marker("every_version")
        versions = sorted(binaries.api_server_versions()) if everywhere else [settings.KUBERNETES]
        metafunc.parametrize("plane", versions, indirect=True, scope="session")


@pytest.hookimpl(trylast=True)  # the marks are given by then
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests go first, or workers would wait for the last of them."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    items[:] = long_first(items, [item for item in items if item.get_closest_marker("slow")], workers)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """How long each API server took to start."""
    for line in config.stash.get(SUMMARY, []):
        terminalreporter.write_line(line)
