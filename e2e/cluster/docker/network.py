"""The cluster's Docker network, with a subnet and a bridge name of our own."""

from __future__ import annotations

from pathlib import Path

from e2e.cluster import shell
from e2e.cluster.cluster_state import ClusterState
from e2e.cluster.docker.daemon import Docker


def options(state: ClusterState) -> list[str]:
    """Options of `docker network create`: a subnet and a bridge of our own."""
    return [f"--subnet={state.node_subnet}", "-o", f"com.docker.network.bridge.name={state.name}"]


def ensure(docker: Docker, state: ClusterState, log: Path) -> str:
    """Make the network, unless it stands."""
    if not exists(docker, state):
        docker.logged(log, "network", "create", "--driver=bridge", *options(state), state.name)
    return f"nodes {state.node_subnet}, pods {state.pod_subnet}, services {state.service_subnet}"


def exists(docker: Docker, state: ClusterState) -> bool:
    return shell.succeeds(["docker", "network", "inspect", state.name], env=docker.env)


def remove(docker: Docker, state: ClusterState) -> None:
    if exists(docker, state):
        docker.output("network", "rm", state.name)
