"""What the kernel says: capabilities, mounts, routes, processes, control groups."""

from __future__ import annotations

import ipaddress
import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from devtools.polling import wait_for
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
    return mount_points(Path("/proc/self/mountinfo").read_text(), folder)


def mount_points(mountinfo: str, folder: Path) -> list[str]:
    """Those of the text of a mountinfo file that are in or below `folder`, innermost first."""
    # The kernel writes a space, tab, newline or backslash of a path as three octal digits.
    points = [re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), line.split()[4]) for line in mountinfo.splitlines()]
    return sorted((p for p in points if p == str(folder) or p.startswith(f"{folder}/")), key=len, reverse=True)


def routed_networks() -> list[ipaddress.IPv4Network]:
    """IPv4 networks that this machine routes, the default route left out.

    Without the `ip` program, which a fresh machine may lack, only those of the kernel's main table.
    """
    if shutil.which("ip"):
        return listed_routes(shell.output(["ip", "-4", "-json", "route", "show", "table", "all"]))
    table = Path("/proc/net/route")
    return main_table(table.read_text()) if table.exists() else []


def listed_routes(listing: str) -> list[ipaddress.IPv4Network]:
    """Networks in the JSON of `ip route show`."""
    words = {route["dst"] for route in json.loads(listing or "[]") if route["dst"] != "default"}
    return [ipaddress.IPv4Network(word, strict=False) for word in sorted(words)]


def main_table(text: str) -> list[ipaddress.IPv4Network]:
    """Networks in the text of /proc/net/route, whose addresses are hexadecimal in the machine's byte order."""
    rows = [line.split() for line in text.splitlines()[1:]]
    pairs = {(_address(row[1]), _address(row[7])) for row in rows}
    return [ipaddress.IPv4Network((where, str(mask))) for where, mask in sorted(pairs) if int(mask)]


def _address(word: str) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(int(word, 16).to_bytes(4, sys.byteorder))


def port_free(port: int) -> bool:
    """Whether a server could listen on `port` of the loopback address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_ports(ports: Sequence[int], count: int) -> list[int]:
    """`count` of `ports`, drawn by chance, on which a server could listen."""
    return list(itertools.islice(filter(port_free, random.sample(ports, len(ports))), count))


def process_named(pid: int, name: str) -> bool:
    """Whether process `pid` lives and its program is called `name`; one that has ended is gone, collected or not."""
    try:
        found, state = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rsplit(")", 1)
    except OSError:
        return False
    return found == name and state.split()[0] not in "ZX"


def end_process(pid: int, name: str, patience: float) -> None:
    """Ask the process to stop, kill it after `patience` seconds; nothing happens when it is not `name`."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not process_named(pid, name):
            return
        os.kill(pid, number)
        wait_for(lambda: not process_named(pid, name), patience)


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
