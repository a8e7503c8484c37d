"""On which addresses the servers of a container listen."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from backend.launcher import addresses
from backend.launcher.preflight import Command
from backend.openai.http_server import listening_socket

KUBELET = (
    "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\nfe00::0\tip6-localnet\n"
)


@pytest.mark.parametrize(
    ("lines", "flags"),
    [
        ("10.0.0.5\tpod-1\n", []),
        ("fd00::5\tpod-1\n", ["--http-address=ipv6:::"]),
        ("10.0.0.5\tpod-1\nfd00::5\tpod-1\n", []),
        ("fd00::5\tpod-1.web.ns.svc pod-1 # first\n10.0.0.5\tpod-1\n", ["--http-address=ipv6:::"]),
        ("127.0.1.1 pod-1\nfd00::5 other\n", []),
        ("::1 pod-1\n", []),
        ("", []),
    ],
)
def test_tritonserver_listens_on_the_family_of_the_pods_first_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str, flags: list[str]
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "pod-1")
    hosts = tmp_path / "hosts"
    hosts.write_text(KUBELET + lines)
    assert addresses.address_flags(["--http-port=8000"], hosts) == flags
    assert addresses.address_flags(["--http-address=0.0.0.0"], hosts) == []
    assert addresses.address_flags([], tmp_path / "none") == []


def test_the_door_of_an_ipv6_server_is_its_address() -> None:
    assert Command.parse(["--http-address=ipv6:::"]).http == ("::", 8000)


@pytest.mark.parametrize(
    ("host", "reached"), [("", ["127.0.0.1", "::1"]), ("127.0.0.1", ["127.0.0.1"]), ("::1", ["::1"])]
)
def test_the_health_port_listens_on_both_families(host: str, reached: list[str]) -> None:
    with listening_socket(host, 0) as listening:
        port = listening.getsockname()[1]
        found = []
        for address in ("127.0.0.1", "::1"):
            try:
                socket.create_connection((address, port), timeout=2).close()
                found.append(address)
            except OSError:
                pass
    assert found == reached
