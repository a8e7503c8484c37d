"""The fault slices run against a real API server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.apiserver.fixtures import namespace, plane, start_operator

__all__ = ["namespace", "plane", "start_operator"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.apiserver)
            item.add_marker(pytest.mark.slow)
