"""Which hosts media may come from, and which addresses may be connected to for them."""

from __future__ import annotations

import ipaddress

import pytest

from contract.media import MediaHosts, is_public

INNER = [
    "127.0.0.1",
    "127.255.0.1",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "192.0.0.192",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2001:0:4136:e378:8000:63bf:f5ff:fffe",
    "2001:db8::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]
PUBLIC = ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "64:ff9b::1.1.1.1", "2002:101:101::1"]


@pytest.mark.parametrize("text", INNER)
def test_inner_addresses_are_not_public(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))
    assert not MediaHosts.parse(["*.example.com"]).admits_address(text)


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))
    assert MediaHosts.parse([]).admits_address(text)
    assert not MediaHosts.parse(["example.com"]).names_host(text)


def test_names() -> None:
    hosts = MediaHosts.parse(["Images.example.com", "*.cdn.example.com", "minio"])
    assert all(hosts.names_host(name) for name in ("images.example.com", "IMAGES.EXAMPLE.COM", "a.cdn.example.com"))
    assert all(hosts.names_host(name) for name in ("a.b.cdn.example.com", "minio"))
    others = (
        "cdn.example.com",
        "example.com",
        "images.example.com.evil.test",
        "ximages.example.com",
        "minio.evil.test",
    )
    assert not any(hosts.names_host(name) for name in (*others, "images.example.com.", ""))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "[::1]", "localhost"])
def test_nothing_is_named_by_default(host: str) -> None:
    assert not MediaHosts.parse([]).names_host(host)


def test_an_address_may_be_in_a_url_and_a_network_may_not() -> None:
    hosts = MediaHosts.parse(["10.0.0.7", "10.96.0.0/12", "fd00::/8"])
    assert hosts.names_host("10.0.0.7")
    assert not hosts.names_host("10.96.0.1")
    assert hosts.admits_address("10.0.0.7")
    assert hosts.admits_address("::ffff:10.0.0.7")
    assert hosts.admits_address("10.96.0.1")
    assert hosts.admits_address("fd00::1")
    assert not hosts.admits_address("10.0.0.8")


@pytest.mark.parametrize("entry", ["", "http://x", "x/y", "a b", "*", "*.", "-a", "10.0.0.1/8", "example.com:80"])
def test_other_entries_are_refused(entry: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        MediaHosts.parse([entry])
