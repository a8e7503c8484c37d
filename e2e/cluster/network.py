"""The cluster's Docker network, with a subnet and a bridge name of our own."""

from __future__ import annotations

from pathlib import Path

from e2e.cluster import shell
from e2e.cluster.engine import Engine
from e2e.cluster.state import State


def options(mine: State) -> list[str]:
    """Options of `docker network create`: a subnet and a bridge of our own."""
    return [f"--subnet={mine.node_subnet}", "-o", f"com.docker.network.bridge.name={mine.name}"]


def ensure(engine: Engine, mine: State, log: Path) -> str:
    """Make the network, unless it stands."""
    if not exists(engine, mine):
        engine.logged(log, "network", "create", "--driver=bridge", *options(mine), mine.name)
    return f"nodes {mine.node_subnet}, pods {mine.pod_subnet}, services {mine.service_subnet}"


def exists(engine: Engine, mine: State) -> bool:
    return shell.succeeds(["docker", "network", "inspect", mine.name], env=engine.env)


def remove(engine: Engine, mine: State) -> None:
    if exists(engine, mine):
        engine.docker("network", "rm", mine.name)
