"""What is left of a cluster on this machine: the proof that `down` leaves nothing behind."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from devtools import cache
from e2e.cluster import engine, machine, shell
from e2e.cluster.state import State

SBIN = "/usr/sbin:/sbin:/usr/bin:/bin"


def of_cluster(mine: State) -> list[str]:
    """A line for each thing of this cluster that is still there."""
    return [*_listeners(mine), *_links(mine), *_rules(re.escape(mine.name) + "|" + re.escape(mine.node_subnet))]


def of_engine() -> list[str]:
    """A line for each thing of our own Docker engine that is still there, whichever cluster used it."""
    folder = engine.run_dir()
    found = [f"folder {folder}"] if folder.exists() else []
    return [*found, *_processes(folder), *_mounts(folder), *_cgroups(), *_rules(r"\bDOCKER")]


def _listeners(mine: State) -> Iterator[str]:
    for port in (mine.api_port, mine.registry_port):
        if not machine.port_free(port):
            yield f"port {port}"


def _links(mine: State) -> Iterator[str]:
    if Path(f"/sys/class/net/{mine.name}").exists():
        yield f"bridge {mine.name}"
    for network in machine.routed_networks():
        if str(network) in (mine.node_subnet, mine.pod_subnet, mine.service_subnet):
            yield f"route {network}"


def _processes(folder: Path) -> Iterator[str]:
    """Processes that were started with a path of the engine's: the daemon, its containerd, shims and proxies."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if int(entry.name) != os.getpid() and str(folder) in command:
            yield f"process {entry.name}: {command[:120]}"


def _mounts(folder: Path) -> Iterator[str]:
    for root in (folder, cache.root()):
        yield from (f"mount {point}" for point in machine.mounts_below(root))


def _cgroups() -> Iterator[str]:
    roots = [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*")]
    yield from (f"control group {root / 'docker'}" for root in roots if (root / "docker").is_dir())


def _rules(pattern: str) -> Iterator[str]:
    """Firewall rules that match."""
    for program in ("iptables-save", "ip6tables-save"):
        if path := shutil.which(program, path=SBIN):
            for line in shell.output([path]).splitlines():
                if re.search(pattern, line):
                    yield f"{program}: {line}"
