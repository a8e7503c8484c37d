"""Checks the machine before anything is started: one line for each problem, with what to do."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from devtools import cache
from e2e.cluster import cluster_state, shell
from e2e.cluster.cluster_state import ClusterState
from e2e.cluster.docker import daemon
from e2e.cluster.images import binaries
from e2e.cluster.kind import nodes
from e2e.cluster.machine import networks, packages

COLD_DISK_GIB = 28.0
WARM_DISK_GIB = 6.0
MEMORY_GIB = 8.0
GIB = 1024**3


@dataclass(frozen=True)
class Facts:
    """What the checks need to know about the machine."""

    system: str
    architecture: str
    root: bool
    docker_answers: bool
    can_install: bool
    disk_gib: float
    memory_gib: float
    warm: bool
    """The node image is built, so most of the disk is already taken."""
    ports_in_use: tuple[int, ...]
    network_in_use: str


def problems(facts: Facts) -> Iterator[str]:
    """Problems, the most basic first. Each is one line that ends with what to do."""
    if facts.system != "Linux" and not facts.docker_answers:
        yield f"{facts.system} has no Docker daemon that answers: start Docker, or use Linux"
    if facts.architecture not in ("x86_64", "aarch64", "arm64"):
        yield f"architecture {facts.architecture} is not supported: use an x86_64 or arm64 machine"
    if not facts.docker_answers and not facts.can_install:
        yield "no Docker daemon answers, and there is no apt-get to install one: install and start Docker"
    if not facts.docker_answers and not facts.root:
        yield "no Docker daemon answers, and starting one requires root: start Docker, or run this as root (sudo)"
    needed = WARM_DISK_GIB if facts.warm else COLD_DISK_GIB
    if facts.disk_gib < needed:
        have = f"{facts.disk_gib:.0f} GiB of disk are free below {cache.root()}, {needed:.0f} are required"
        yield f"{have}: free some, or set XDG_CACHE_HOME to a folder on a larger disk"
    if facts.memory_gib < MEMORY_GIB:
        have = f"{facts.memory_gib:.0f} GiB of memory are available, {MEMORY_GIB:.0f} are required"
        yield f"{have}: stop something, or use a larger machine"
    for port in facts.ports_in_use:
        taken = f"port {port} of 127.0.0.1 is in use"
        yield f"{taken}: stop what listens there (ss -ltnp), or run `make down` to choose another"
    if facts.network_in_use:
        taken = f"network {facts.network_in_use} is routed to another interface"
        yield f"{taken}: remove that route (ip route), or run `make down` to choose another"


def memory_gib() -> float:
    """Available memory in GiB; enough where it cannot be read."""
    file = Path("/proc/meminfo")
    if not file.exists():
        return MEMORY_GIB
    words = dict(line.split(":", 1) for line in file.read_text().splitlines())
    return int(words["MemAvailable"].split()[0]) / 1024**2


def disk_gib(folder: Path) -> float:
    """Free disk in GiB at `folder`, or at the first of its parents that exists."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(existing).free / GIB


def _runs(docker: daemon.Docker, state: ClusterState) -> bool:
    """Whether containers of the cluster run, so that its ports and networks are in use by itself."""
    return docker.answers() and "running" in nodes.container_states(docker, state).values()


def observe(docker: daemon.Docker, state: ClusterState) -> Facts:
    """Facts about the machine for the cluster `state` and the daemon `found`."""
    recorded = cluster_state.load(state.key) is not None
    running = recorded and _runs(docker, state)
    ports = () if running else tuple(p for p in (state.api_port, state.registry_port) if not networks.port_free(p))
    return Facts(
        system=platform.system(),
        architecture=platform.machine(),
        root=os.geteuid() == 0,
        docker_answers=not docker.ours or docker.answers(),
        can_install=packages.can_install(),
        disk_gib=disk_gib(cache.root()),
        memory_gib=MEMORY_GIB if running else memory_gib(),
        warm=any((cache.root() / "worker-images").glob("*/*")),
        ports_in_use=() if _registry_is_ours(docker, state) else ports,
        network_in_use="" if running else _network_in_use(state, recorded),
    )


def _registry_is_ours(docker: daemon.Docker, state: ClusterState) -> bool:
    return docker.answers() and shell.succeeds(["docker", "inspect", state.registry_container], env=docker.env)


def _network_in_use(state: ClusterState, recorded: bool) -> str:
    """A route into our networks of another interface. Our own bridge may be left after a crash."""
    if not recorded or Path(f"/sys/class/net/{state.name}").exists():
        return ""
    block = cluster_state.block_network(state.block)
    return next((str(route) for route in networks.routed_networks() if route.overlaps(block)), "")


def check(docker: daemon.Docker, state: ClusterState) -> None:
    """Raise RequirementNotMet with the first thing that is missing."""
    for problem in problems(observe(docker, state)):
        raise shell.RequirementNotMet(problem)
    if not all(binaries.is_built(part) for part in binaries.CLUSTER):
        binaries.require_go()
