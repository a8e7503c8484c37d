"""IPv4 networks and TCP ports that this machine uses."""

from __future__ import annotations

import functools
import ipaddress
import itertools
import json
import os
import random
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from e2e.cluster import shell


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


def free_ports(ports: range, count: int) -> list[int]:
    """`count` of `ports` on which a server could listen, none of them twice until all have been given.

    A server listens some seconds after its port was drawn, so the processes of pytest-xdist draw from different ports.
    """
    return list(itertools.islice(filter(port_free, itertools.islice(_turns(ports), len(ports))), count))


@functools.cache
def _turns(ports: range) -> Iterator[int]:
    """The ports of this process in an order drawn by chance, again and again."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    own = ports[worker :: int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))]
    return itertools.cycle(random.sample(own, len(own)))
