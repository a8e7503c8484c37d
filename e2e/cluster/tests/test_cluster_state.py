"""Names, ports and networks: the same at each call, never those of another checkout."""

from __future__ import annotations

import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from e2e.cluster import cluster_state, settings, shell
from e2e.cluster.cluster_state import ClusterState
from e2e.cluster.machine import networks

KEY = "0000abcd"


@pytest.fixture(autouse=True)
def quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No route and no listener but what the test says."""
    monkeypatch.setattr(networks, "routed_networks", list)
    monkeypatch.setattr(networks, "port_free", lambda port: True)


def subnets(one: ClusterState) -> list[IPv4Network]:
    return [IPv4Network(subnet) for subnet in (one.pod_subnet, one.service_subnet, one.node_subnet)]


def test_a_block_is_the_same_each_time_and_another_when_it_is_taken() -> None:
    first = cluster_state.choose_block(KEY, [], [])
    assert cluster_state.choose_block(KEY, [], []) == first
    assert cluster_state.choose_block(KEY, [], [first]) != first


def test_a_block_that_overlaps_a_route_is_left_alone() -> None:
    first = cluster_state.choose_block(KEY, [], [])
    inside = next(cluster_state.block_network(first).subnets(new_prefix=24))
    assert cluster_state.choose_block(KEY, [inside], []) != first
    half = IPv4Network("10.128.0.0/9")
    for key in (f"{number:08x}" for number in range(cluster_state.BLOCKS)):
        assert not cluster_state.block_network(cluster_state.choose_block(key, [half], [])).overlaps(half)


def test_blocks_stay_in_the_upper_three_quarters_of_10() -> None:
    every = [
        cluster_state.block_network(cluster_state.choose_block(f"{n:08x}", [], [])) for n in range(cluster_state.BLOCKS)
    ]
    assert min(every) == IPv4Network("10.64.0.0/14")
    assert max(every) == IPv4Network("10.252.0.0/14")
    assert len(set(every)) == cluster_state.BLOCKS


def test_no_free_network_is_said_with_what_to_do() -> None:
    with pytest.raises(shell.RequirementNotMet, match="remove a route"):
        cluster_state.choose_block(KEY, [IPv4Network("10.0.0.0/8")], [])


def test_ports_are_the_same_each_time_and_others_when_one_is_taken_or_not_free() -> None:
    first = cluster_state.choose_ports(KEY, lambda port: True, [])
    assert cluster_state.choose_ports(KEY, lambda port: True, []) == first
    assert not set(first) & set(cluster_state.choose_ports(KEY, lambda port: True, [first[1]]))
    assert not set(first) & set(cluster_state.choose_ports(KEY, lambda port: port != first[0], []))


def test_the_last_pair_of_ports_is_followed_by_the_first() -> None:
    last = f"{cluster_state.PORT_PAIRS - 1:08x}"
    taken = cluster_state.choose_ports(last, lambda port: True, [])
    assert cluster_state.choose_ports(last, lambda port: True, taken)[0] == cluster_state.FIRST_PORT


def test_no_free_port_is_said_with_what_to_do() -> None:
    with pytest.raises(shell.RequirementNotMet, match="stop a server"):
        cluster_state.choose_ports(KEY, lambda port: False, [])


def test_a_proposal_leaves_no_trace_and_a_claim_keeps_its_promise(tmp_path: Path) -> None:
    proposed = cluster_state.propose(tmp_path)
    assert cluster_state.recorded() == []
    assert cluster_state.claim(tmp_path) == proposed
    assert cluster_state.recorded() == [proposed] == [cluster_state.load(proposed.key)]


def test_a_claim_lasts_although_the_machine_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = cluster_state.claim(tmp_path)
    monkeypatch.setattr(networks, "port_free", lambda port: False)
    monkeypatch.setattr(networks, "routed_networks", lambda: [cluster_state.block_network(first.block)])
    assert cluster_state.claim(tmp_path) == first == cluster_state.propose(tmp_path)


def test_checkouts_that_would_choose_the_same_get_different_things_even_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = 6000  # a multiple of the number of blocks and of port pairs: all start their search at the same place
    monkeypatch.setattr(settings, "checkout_key", lambda path: f"{int(path.name) * step:08x}")
    checkouts = [tmp_path / str(number) for number in range(1, 25)]
    assert (
        len({cluster_state.choose_ports(settings.checkout_key(one), lambda port: True, []) for one in checkouts}) == 1
    )
    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(cluster_state.claim, checkouts))
    ports = [port for one in claimed for port in (one.api_port, one.registry_port)]
    assert len(set(ports)) == len(ports)
    assert len({one.name for one in claimed}) == len(claimed)
    assert not any(a.overlaps(b) for a, b in itertools.combinations([n for one in claimed for n in subnets(one)], 2))


def test_an_image_store_is_recorded(state: ClusterState) -> None:
    changed = cluster_state.with_image_store(state, Path("/stores/1"))
    assert changed.image_store == "/stores/1"
    assert cluster_state.load(state.key) == changed


def test_the_file_is_the_same_for_checkouts_of_older_versions(state: ClusterState) -> None:
    cluster_state.save(state)
    recorded = json.loads((state.folder / "state.json").read_text())
    assert recorded == {
        "key": state.key,
        "checkout": state.checkout,
        "api_port": 20000,
        "registry_port": 20001,
        "block": 16,
        "slot": state.image_store,
    }


def test_names_fit_the_kernels_limit_for_interfaces_and_lie_apart_from_docker(state: ClusterState) -> None:
    assert len(state.name) <= 15
    assert {state.worker, state.control_plane} == {f"{state.name}-worker", f"{state.name}-control-plane"}
    assert state.kubeconfig.parent == state.folder
    assert not state.logs.is_relative_to(state.folder)  # logs outlive `make down`


def test_a_checkout_that_is_gone_is_an_orphan_though_docker_made_its_folder_anew(tmp_path: Path) -> None:
    here, gone = tmp_path / "here", tmp_path / "gone"
    here.mkdir()
    (here / "pyproject.toml").touch()
    (gone / "e2e/node/audit-policy.yaml").mkdir(parents=True)
    cluster_state.claim(here)
    orphan = cluster_state.claim(gone)
    assert cluster_state.orphans() == [orphan]
