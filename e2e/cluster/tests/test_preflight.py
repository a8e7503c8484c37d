"""Problems of the machine are reported in one line, with what to do, before anything is started."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import cluster_state, preflight, shell
from e2e.cluster.cluster_state import ClusterState
from e2e.cluster.docker.daemon import Docker
from e2e.cluster.machine import networks, packages
from e2e.cluster.preflight import Facts, problems

GOOD = Facts(
    system="Linux",
    architecture="x86_64",
    root=True,
    docker_answers=False,
    can_install=True,
    disk_gib=100.0,
    memory_gib=16.0,
    warm=False,
    ports_in_use=(),
    network_in_use="",
)
# Problem -> (facts, its message, what to do).
BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "not Linux": ({"system": "Darwin"}, "Darwin has no Docker daemon", "start Docker"),
    "odd processor": ({"architecture": "riscv64"}, "riscv64 is not supported", "use an x86_64"),
    "nothing to install with": ({"can_install": False}, "no apt-get", "install and start Docker"),
    "not root": ({"root": False}, "requires root", "sudo"),
    "no disk": ({"disk_gib": 20.4}, "20 GiB of disk are free", "XDG_CACHE_HOME"),
    "no disk for another start": ({"warm": True, "disk_gib": 2.0}, "6 are required", "free some"),
    "no memory": ({"memory_gib": 3.0}, "3 GiB of memory are available, 8 are required", "stop something"),
    "port taken": ({"ports_in_use": (20000,)}, "port 20000 of 127.0.0.1 is in use", "make down"),
    "network taken": ({"network_in_use": "10.64.0.0/24"}, "10.64.0.0/24 is routed to another interface", "ip route"),
}
DOCKER = Docker("unix:///nowhere/docker.sock", ours=True, reason="")


def test_a_fit_machine_has_no_problem() -> None:
    assert list(problems(GOOD)) == []


@pytest.mark.parametrize("case", BAD)
def test_each_problem_is_one_line_that_says_what_to_do(case: str) -> None:
    changed, missing, advice = BAD[case]
    (line,) = problems(replace(GOOD, **changed))
    assert "\n" not in line
    what, _, todo = line.partition(": ")
    assert missing in what
    assert advice in todo


@pytest.mark.parametrize("changed", [{"root": False}, {"can_install": False}, {"system": "Darwin"}])
def test_a_docker_daemon_that_answers_makes_root_and_packages_unnecessary(changed: dict[str, Any]) -> None:
    assert list(problems(replace(GOOD, docker_answers=True, **changed))) == []


def test_less_disk_is_enough_once_the_images_are_there() -> None:
    assert list(problems(replace(GOOD, disk_gib=10.0, warm=True))) == []


def test_the_most_basic_problem_comes_first() -> None:
    worst = replace(GOOD, **{key: value for changed, *_ in BAD.values() for key, value in changed.items()})
    lines = list(problems(worst))
    assert lines[0].startswith("Darwin")
    assert lines[-1].startswith("network")


def test_a_port_that_another_program_holds_is_seen_before_the_start(state: ClusterState) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        facts = preflight.observe(DOCKER, replace(state, api_port=port))
    assert port in facts.ports_in_use
    assert not facts.docker_answers


def test_check_raises_the_first_problem(state: ClusterState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "MEMORY_GIB", 1e6)
    monkeypatch.setattr(preflight, "COLD_DISK_GIB", 0.0)
    monkeypatch.setattr(packages, "can_install", lambda: True)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(shell.RequirementNotMet, match="GiB of memory are available, 1000000 are required"):
        preflight.check(DOCKER, state)


def test_a_network_that_another_interface_routes_is_seen_once_ours_is_recorded(
    state: ClusterState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "routed_networks", lambda: [IPv4Network("10.65.0.0/24"), IPv4Network("10.0.0.0/24")])
    assert preflight.observe(DOCKER, state).network_in_use == ""  # a proposal avoids it by itself
    cluster_state.save(state)
    assert preflight.observe(DOCKER, state).network_in_use == "10.65.0.0/24"


def test_free_disk_is_measured_where_the_cache_will_be(tmp_path: Path) -> None:
    assert preflight.disk_gib(tmp_path / "not" / "yet" / "there") > 0
