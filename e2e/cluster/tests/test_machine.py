from __future__ import annotations

import signal
import socket
import subprocess
import time
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from devtools.polling import wait_for
from e2e.cluster.machine import kernel, networks, processes

MOUNTS = """\
22 1 8:1 / / rw - ext4 /dev/sda1 rw
30 22 0:5 / /run/ours rw shared:1 - tmpfs tmpfs rw
31 30 0:6 / /run/ours/exec/net\\040ns rw - proc proc rw
32 22 0:7 / /run/ours-not rw - tmpfs tmpfs rw
33 22 0:8 / /run/ours/\u00e9 rw - tmpfs tmpfs rw
"""


def test_a_capability_is_a_bit_of_the_bounding_set() -> None:
    assert kernel.capability_granted(0x1FFFFFFFFFF, kernel.CAP_SYS_RESOURCE)
    assert not kernel.capability_granted(0x1FFFFFFFFFF & ~(1 << 24), kernel.CAP_SYS_RESOURCE)


def test_mounts_are_given_innermost_first_and_lookalikes_left_alone() -> None:
    found = kernel.mount_points(MOUNTS, Path("/run/ours"))
    assert found == ["/run/ours/exec/net ns", "/run/ours/\u00e9", "/run/ours"]
    assert kernel.mounts_below(Path("/no/such/folder")) == []


def test_no_two_test_processes_draw_the_same_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server listens some seconds after its port was drawn: in between, another process could draw it too."""
    monkeypatch.setattr(networks, "port_free", lambda port: port != 40_005)
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "2")
    drawn = []
    for worker in ("gw0", "gw1"):
        networks._turns.cache_clear()
        monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
        drawn.append([port for _ in range(2) for port in networks.free_ports(range(40_000, 40_010), 2)])
    networks._turns.cache_clear()
    assert [len(set(ports)) for ports in drawn] == [4, 4]
    assert not set(drawn[0]) & set(drawn[1])
    assert 40_005 not in drawn[0] + drawn[1]


def test_routes_are_read_with_the_ip_program() -> None:
    listing = '[{"dst":"default","gateway":"10.1.1.1"},{"dst":"10.64.0.0/16"},{"dst":"10.1.1.7","type":"local"}]'
    assert networks.listed_routes(listing) == [IPv4Network("10.1.1.7/32"), IPv4Network("10.64.0.0/16")]
    assert networks.listed_routes("") == []


def test_routes_are_read_from_the_kernel_where_there_is_no_ip_program() -> None:
    header = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
    default = "eth0\t00000000\t0101010A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
    bridge = "br0\t0000400A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
    assert networks.main_table(header + default + bridge) == [IPv4Network("10.64.0.0/16")]


def test_without_the_ip_program_the_kernels_main_table_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(networks, "main_table", lambda text: [text.split()[:3]])
    assert networks.routed_networks() == [["Iface", "Destination", "Gateway"]]


def test_a_port_with_a_listener_is_not_free() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert not networks.port_free(port)
    assert networks.port_free(port)


def test_only_the_named_process_is_ended() -> None:
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        assert wait_for(lambda: processes.process_named(sleeper.pid, "sleep"), 10)
        processes.end_process(sleeper.pid, "dockerd", patience=1)
        assert sleeper.poll() is None
    finally:
        sleeper.send_signal(signal.SIGKILL)
        sleeper.wait()
    assert not processes.process_named(sleeper.pid, "sleep")


def test_a_process_that_ignores_the_first_signal_is_killed(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    stubborn = subprocess.Popen(["bash", "-c", f"trap '' TERM; touch {ready}; while :; do sleep 0.05; done"])
    try:
        assert wait_for(ready.exists, 10)
        processes.end_process(stubborn.pid, "bash", patience=0.3)
        assert stubborn.wait(10) == -signal.SIGKILL
    finally:
        stubborn.kill()


def test_a_child_that_has_ended_is_not_waited_for_though_nobody_has_collected_it() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        assert wait_for(lambda: processes.process_named(child.pid, "sleep"), 10)
        begun = time.monotonic()
        processes.end_process(child.pid, "sleep", patience=30)
        assert time.monotonic() - begun < 20
    finally:
        assert child.wait(10) == -signal.SIGTERM
