"""What the kernel says: capabilities, mounts, routes, processes, control groups."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

from e2e.cluster import shell

CAP_SYS_RESOURCE = 24


def capability_granted(bounding_set: int, capability: int) -> bool:
    return bool(bounding_set >> capability & 1)


def may_raise_limits() -> bool:
    """Whether CAP_SYS_RESOURCE is in this process's bounding set, so that privileged containers can have it."""
    found = re.search(r"^CapBnd:\s*([0-9a-f]+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    return found is None or capability_granted(int(found[1], 16), CAP_SYS_RESOURCE)


def mounts_below(folder: Path) -> list[str]:
    """Mount points in or below `folder`, innermost first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4].encode().decode("unicode_escape") for line in lines]
    return sorted((p for p in points if p == str(folder) or p.startswith(f"{folder}/")), key=len, reverse=True)


def routed_networks() -> list[ipaddress.IPv4Network]:
    """IPv4 networks that this machine routes, the default route left out."""
    routes = json.loads(shell.output(["ip", "-4", "-json", "route", "show", "table", "all"]) or "[]")
    words = {route["dst"] for route in routes if route["dst"] != "default"}
    return [ipaddress.IPv4Network(word, strict=False) for word in sorted(words)]


def port_free(port: int) -> bool:
    """Whether a server could listen on `port` of the loopback address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def process_named(pid: int, name: str) -> bool:
    """Whether process `pid` lives and its program is called `name`."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == name
    except OSError:
        return False


def end_process(pid: int, name: str, patience: float) -> None:
    """Ask the process to stop, kill it after `patience` seconds; nothing happens when it is not `name`."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not process_named(pid, name):
            return
        os.kill(pid, number)
        wait_for(lambda: not process_named(pid, name), patience)


def wait_for(condition: Callable[[], bool], seconds: float, pause: float = 0.2) -> bool:
    """Whether `condition` became true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


def remove_empty_cgroups(name: str) -> None:
    """Remove the control groups `/name` of every hierarchy, if nothing lives in them."""
    roots = [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*")]
    for group in (root / name for root in roots if (root / name).is_dir()):
        for folder in sorted((p for p in group.rglob("*") if p.is_dir()), key=lambda p: len(p.parts), reverse=True):
            _rmdir(folder)
        _rmdir(group)


def _rmdir(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return  # in use, or gone: not ours to force
