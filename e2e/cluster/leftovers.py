"""Finds what a cluster has left on this machine: the proof that `down` removes everything."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from devtools import cache
from e2e.cluster import shell
from e2e.cluster.cluster_state import ClusterState
from e2e.cluster.docker import daemon
from e2e.cluster.machine import kernel, networks

SBIN = "/usr/sbin:/sbin:/usr/bin:/bin"


def of_cluster(state: ClusterState) -> list[str]:
    """A line for each thing of this cluster that is still there."""
    return [*_listeners(state), *_links(state), *_rules(re.escape(state.name) + "|" + re.escape(state.node_subnet))]


def of_docker() -> list[str]:
    """A line for each thing of our own Docker daemon that is still there, whichever cluster used it."""
    folder = daemon.run_dir()
    found = [f"folder {folder}"] if folder.exists() else []
    return [*found, *_processes(folder), *_mounts(folder), *_cgroups(), *_rules(r"\bDOCKER")]


def _listeners(state: ClusterState) -> Iterator[str]:
    for port in (state.api_port, state.registry_port):
        if not networks.port_free(port):
            yield f"port {port}"


def _links(state: ClusterState) -> Iterator[str]:
    if Path(f"/sys/class/net/{state.name}").exists():
        yield f"bridge {state.name}"
    for network in networks.routed_networks():
        if str(network) in (state.node_subnet, state.pod_subnet, state.service_subnet):
            yield f"route {network}"


def _processes(folder: Path) -> Iterator[str]:
    """Processes with a path of the daemon in their command: dockerd, containerd, shims and proxies."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if int(entry.name) != os.getpid() and str(folder) in command:
            yield f"process {entry.name}: {command[:120]}"


def _mounts(folder: Path) -> Iterator[str]:
    for root in (folder, cache.root()):
        yield from (f"mount {point}" for point in kernel.mounts_below(root))


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
