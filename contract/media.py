"""Media of requests: which hosts they may come from, and which addresses may be connected to for them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

DOMAINS_ARGUMENT: Final = "allowed_media_domains"
"""Key of `model.json`: hosts from which media may be fetched; none when it is absent or empty."""
DOMAINS_FIELD: Final = "spec.server.openAI.mediaDomains"
"""The field of an LLMDeployment that sets it."""

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NAME = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
# The only IPv6 addresses that are routed on the internet, and those that hold an IPv4 address.
_GLOBAL_IPV6 = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_COMPATIBLE = IPv6Network("::/96")
# What `is_global` of some versions of Python takes for the internet's.
_SPECIAL = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"), IPv6Network("3fff::/20"))


@dataclass(frozen=True, slots=True)
class MediaHosts:
    """Hosts that are allowed; nothing is when it is empty.

    Attributes:
        names: host names; one that begins with `*.` stands for every name below it.
        addresses: may be the host of a URL, and what a name resolves to.
        networks: may only be what a name resolves to.
    """

    names: frozenset[str] = frozenset()
    addresses: frozenset[Address] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, entries: Sequence[str]) -> MediaHosts:
        """Return the hosts of a list of names, addresses and networks. Raises ValueError with the wrong entry."""
        names, addresses, networks = set(), set(), []
        for entry in entries:
            if (address := _address(entry)) is not None:
                addresses.add(address)
            elif "/" in entry:
                networks.append(ipaddress.ip_network(entry))
            elif _NAME.fullmatch(entry.lower()):
                names.add(entry.lower())
            else:
                raise ValueError(f"{entry!r} is not a host name, an address or a network")
        return cls(frozenset(names), frozenset(addresses), tuple(networks))

    def names_host(self, host: str) -> bool:
        """Return whether the host of a URL is allowed."""
        if (address := _address(host)) is not None:
            return address in self.addresses
        parts = host.lower().split(".")
        above = ("*." + ".".join(parts[count:]) for count in range(1, len(parts)))
        return host.lower() in self.names or any(each in self.names for each in above)

    def admits_address(self, text: str) -> bool:
        """Return whether a socket may be connected to an address: a public one, or one that is named."""
        address = _address(text)
        if address is None:
            return False
        named = address in self.addresses or any(address in network for network in self.networks)
        return named or is_public(address)


def _address(text: str) -> Address | None:
    """The address in a text, None for anything else. One of IPv4 in the form of IPv6 is that of IPv4."""
    try:
        address = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_public(address: Address) -> bool:
    """Return whether an address is one of the internet, also where it holds another address."""
    if any(address in network for network in _SPECIAL):
        return False
    if isinstance(address, IPv6Address):
        held = _held(address)
        if held is not None:
            return is_public(held)
        return address in _GLOBAL_IPV6 and address.is_global
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _held(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address to which packets for an IPv6 address go in the end, None where there is none."""
    if address in _NAT64 or address in _COMPATIBLE:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour
