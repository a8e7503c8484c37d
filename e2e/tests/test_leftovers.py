"""`make down` leaves nothing behind but the caches."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from e2e.cluster import Cluster, cluster_state, leftovers
from e2e.cluster.cluster_state import ClusterState
from e2e.cluster.docker import daemon
from e2e.environment import Environment

pytestmark = pytest.mark.skipif(os.environ.get("CLUSTER") == "existing", reason="the cluster is not ours to remove")


@pytest.fixture(scope="module")
def removed(env: Environment) -> Iterator[ClusterState]:
    """This checkout's cluster once it is removed; outside CI it is brought up again afterwards, for whoever used it."""
    cluster = Cluster()
    state = cluster.state
    assert leftovers.of_cluster(state), "no cluster is up, so its removal proves nothing"
    assert leftovers.of_docker() or not cluster.docker.ours, "our own daemon leaves no trace, so its end proves nothing"
    cluster.down()
    yield state
    if os.environ.get("CI") != "true":
        Cluster().up(["operator", "triton-vllm"])


def test_no_port_bridge_route_or_rule_of_the_cluster_is_left(removed: ClusterState) -> None:
    assert leftovers.of_cluster(removed) == []
    assert cluster_state.load(removed.key) is None


def test_no_process_mount_or_group_of_the_engine_is_left(removed: ClusterState) -> None:
    if cluster_state.recorded() or not daemon.find().ours:
        pytest.skip("another checkout's cluster uses the engine")
    assert leftovers.of_docker() == []
