"""On which addresses tritonserver listens, by the address that the pod has."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from backend.launcher.preflight import flag_values

HOSTS = Path("/etc/hosts")
ADDRESS_FLAG = "--http-address"
# tritonserver listens with one socket per port, IPv4 by default, and an IPv6 socket of it does not accept IPv4. The
# port of metrics follows that of HTTP; gRPC listens on both by itself.
IPV6 = "ipv6:::"


def address_flags(arguments: Sequence[str], hosts: Path = HOSTS) -> list[str]:
    """The flag with which tritonserver listens on the pod's first address, where that is IPv6; else none.

    The kubelet's probes and Services of the cluster's first family use that address. `arguments` that have the flag
    keep it.
    """
    if flag_values(arguments, ADDRESS_FLAG):
        return []
    first = next(_addresses(hosts, socket.gethostname()), None)
    return [f"{ADDRESS_FLAG}={IPV6}"] if first is not None and first.version == 6 else []


def _addresses(hosts: Path, name: str) -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """The pod's addresses, in the kubelet's order: it writes them into the hosts file with the pod's name."""
    try:
        lines = hosts.read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        address, *names = line.partition("#")[0].split() or [""]
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            continue
        if name in names and not found.is_loopback:
            yield found
