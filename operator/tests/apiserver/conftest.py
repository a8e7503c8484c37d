"""Every test in this folder runs against real API servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.apiserver.fixtures import client, namespace, operator, plane, start_everywhere, start_operator, view

__all__ = ["client", "namespace", "operator", "plane", "start_everywhere", "start_operator", "view"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.apiserver)
