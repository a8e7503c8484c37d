"""The fault slices run against a real API server with stand-ins for kubelets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apiserver.controlplane import ControlPlane
from tests.apiserver.fixtures import namespace, plane, start_operator
from tests.apiserver.kubelet import kubelet
from tests.faults.common import PREFIX

__all__ = ["namespace", "plane", "start_operator"]


@pytest.fixture
def kubelets(plane: ControlPlane) -> Iterator[None]:
    with kubelet(plane, PREFIX):
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.apiserver)
            item.add_marker(pytest.mark.slow)
