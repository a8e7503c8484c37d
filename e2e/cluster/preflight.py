"""What the machine must have, checked before anything is started: one line for what is missing and what to do."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from devtools import cache
from e2e.cluster import engine, machine, nodes, packages, parts, shell, state
from e2e.cluster.state import State

COLD_DISK_GIB = 28.0
WARM_DISK_GIB = 6.0
MEMORY_GIB = 8.0
GIB = 1024**3


@dataclass(frozen=True)
class Facts:
    """What was seen of the machine."""

    system: str
    architecture: str
    root: bool
    engine_answers: bool
    can_install: bool
    disk_gib: float
    memory_gib: float
    warm: bool
    """The node image is built, so most of the disk is already taken."""
    ports_taken: tuple[int, ...]
    network_taken: str


def problems(facts: Facts) -> Iterator[str]:
    """What is missing, the most basic first. Each is one line that ends with what to do."""
    if facts.system != "Linux" and not facts.engine_answers:
        yield f"{facts.system} has no Docker engine that answers: start Docker, or use Linux"
    if facts.architecture not in ("x86_64", "aarch64", "arm64"):
        yield f"architecture {facts.architecture} is not supported: use an x86_64 or arm64 machine"
    if not facts.engine_answers and not facts.can_install:
        yield "no Docker engine answers and there is no apt-get to install one: install and start Docker"
    if not facts.engine_answers and not facts.root:
        yield "no Docker engine answers and starting one needs root: start Docker, or run this as root (sudo)"
    needed = WARM_DISK_GIB if facts.warm else COLD_DISK_GIB
    if facts.disk_gib < needed:
        have = f"{facts.disk_gib:.0f} GiB of disk are free below {cache.root()}, {needed:.0f} are needed"
        yield f"{have}: free some, or set XDG_CACHE_HOME to a folder on a larger disk"
    if facts.memory_gib < MEMORY_GIB:
        have = f"{facts.memory_gib:.0f} GiB of memory are available, {MEMORY_GIB:.0f} are needed"
        yield f"{have}: stop something, or use a larger machine"
    for port in facts.ports_taken:
        yield f"port {port} of 127.0.0.1 is taken: stop what listens there (ss -ltnp), or `make down` to choose another"
    if facts.network_taken:
        taken = f"network {facts.network_taken} is routed elsewhere"
        yield f"{taken}: remove that route (ip route), or `make down` to choose another"


def memory_gib() -> float:
    """Available memory; what cannot be read counts as enough."""
    file = Path("/proc/meminfo")
    if not file.exists():
        return MEMORY_GIB
    words = dict(line.split(":", 1) for line in file.read_text().splitlines())
    return int(words["MemAvailable"].split()[0]) / 1024**2


def disk_gib(folder: Path) -> float:
    """Free disk below `folder`, or below the first of its parents that exists."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(existing).free / GIB


def _stands(found: engine.Engine, mine: State) -> bool:
    """Whether containers of ours run, so that our ports and networks are rightly in use."""
    return found.answers() and "running" in nodes.container_states(found, mine).values()


def observe(found: engine.Engine, mine: State) -> Facts:
    """Look at the machine for checkout state `mine` and engine `found`."""
    recorded = state.load(mine.key) is not None
    stands = recorded and _stands(found, mine)
    ports = () if stands else tuple(p for p in (mine.api_port, mine.registry_port) if not machine.port_free(p))
    return Facts(
        system=platform.system(),
        architecture=platform.machine(),
        root=os.geteuid() == 0,
        engine_answers=not found.ours or found.answers(),
        can_install=packages.can_install(),
        disk_gib=disk_gib(cache.root()),
        memory_gib=MEMORY_GIB if stands else memory_gib(),
        warm=any((cache.root() / "worker-images").glob("*/*")),
        ports_taken=() if _registry_is_ours(found, mine) else ports,
        network_taken="" if stands else _network_taken(mine, recorded),
    )


def _registry_is_ours(found: engine.Engine, mine: State) -> bool:
    return found.answers() and shell.succeeds(["docker", "inspect", mine.registry_container], env=found.env)


def _network_taken(mine: State, recorded: bool) -> str:
    """The part of our networks that another interface routes. Our own bridge may stand after a rude end."""
    if not recorded or Path(f"/sys/class/net/{mine.name}").exists():
        return ""
    block = state.block_network(mine.block)
    return next((str(route) for route in machine.routed_networks() if route.overlaps(block)), "")


def check(found: engine.Engine, mine: State) -> None:
    """Raise Unmet with the first thing that is missing."""
    for problem in problems(observe(found, mine)):
        raise shell.Unmet(problem)
    if not all(parts.is_built(part) for part in parts.EVERY):
        parts.require_go()
