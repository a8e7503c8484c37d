"""The chart, rendered by the real helm. Helm and the API servers are built, so these tests are marked apiserver."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.cluster.images import binaries
from tests.apiserver.fixtures import client, namespace, plane
from tests.chart.helm import Helm

__all__ = ["client", "namespace", "plane"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.apiserver)


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """helm with folders of its own, so that nothing of the user's settings counts."""
    return Helm(binaries.build(binaries.HELM)["helm"], tmp_path_factory.mktemp("helm"))
