"""Names, ports and networks: the same at each call, never those of another checkout."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from e2e.cluster import machine, settings, shell, state
from e2e.cluster.state import State

KEY = "0000abcd"


@pytest.fixture(autouse=True)
def quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No route and no listener but what the test says."""
    monkeypatch.setattr(machine, "routed_networks", list)
    monkeypatch.setattr(machine, "port_free", lambda port: True)


def networks(one: State) -> list[IPv4Network]:
    return [IPv4Network(subnet) for subnet in (one.pod_subnet, one.service_subnet, one.node_subnet)]


def test_a_block_is_the_same_each_time_and_another_when_it_is_taken() -> None:
    first = state.choose_block(KEY, [], [])
    assert state.choose_block(KEY, [], []) == first
    assert state.choose_block(KEY, [], [first]) != first


def test_a_block_that_overlaps_a_route_is_left_alone() -> None:
    first = state.choose_block(KEY, [], [])
    inside = next(state.block_network(first).subnets(new_prefix=24))
    assert state.choose_block(KEY, [inside], []) != first
    half = IPv4Network("10.128.0.0/9")
    for key in (f"{number:08x}" for number in range(state.BLOCKS)):
        assert not state.block_network(state.choose_block(key, [half], [])).overlaps(half)


def test_blocks_stay_in_the_upper_three_quarters_of_10() -> None:
    every = [state.block_network(state.choose_block(f"{n:08x}", [], [])) for n in range(state.BLOCKS)]
    assert min(every) == IPv4Network("10.64.0.0/14")
    assert max(every) == IPv4Network("10.252.0.0/14")
    assert len(set(every)) == state.BLOCKS


def test_no_free_network_is_said_with_what_to_do() -> None:
    with pytest.raises(shell.Unmet, match="remove a route"):
        state.choose_block(KEY, [IPv4Network("10.0.0.0/8")], [])


def test_ports_are_the_same_each_time_and_others_when_one_is_taken_or_not_free() -> None:
    first = state.choose_ports(KEY, lambda port: True, [])
    assert state.choose_ports(KEY, lambda port: True, []) == first
    assert not set(first) & set(state.choose_ports(KEY, lambda port: True, [first[1]]))
    assert not set(first) & set(state.choose_ports(KEY, lambda port: port != first[0], []))


def test_the_last_pair_of_ports_is_followed_by_the_first() -> None:
    last = f"{state.PORT_PAIRS - 1:08x}"
    taken = state.choose_ports(last, lambda port: True, [])
    assert state.choose_ports(last, lambda port: True, taken)[0] == state.FIRST_PORT


def test_no_free_port_is_said_with_what_to_do() -> None:
    with pytest.raises(shell.Unmet, match="stop a server"):
        state.choose_ports(KEY, lambda port: False, [])


def test_a_proposal_leaves_no_trace_and_a_claim_keeps_its_promise(tmp_path: Path) -> None:
    proposed = state.propose(tmp_path)
    assert state.every() == []
    assert state.claim(tmp_path) == proposed
    assert state.every() == [proposed] == [state.load(proposed.key)]


def test_a_claim_lasts_although_the_machine_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = state.claim(tmp_path)
    monkeypatch.setattr(machine, "port_free", lambda port: False)
    monkeypatch.setattr(machine, "routed_networks", lambda: [state.block_network(first.block)])
    assert state.claim(tmp_path) == first == state.propose(tmp_path)


def test_checkouts_that_would_choose_the_same_get_different_things_even_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = 6000  # a multiple of the number of blocks and of port pairs: all start their search at the same place
    monkeypatch.setattr(settings, "checkout_key", lambda path: f"{int(path.name) * step:08x}")
    checkouts = [tmp_path / str(number) for number in range(1, 25)]
    assert len({state.choose_ports(settings.checkout_key(one), lambda port: True, []) for one in checkouts}) == 1
    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(state.claim, checkouts))
    ports = [port for one in claimed for port in (one.api_port, one.registry_port)]
    assert len(set(ports)) == len(ports)
    assert len({one.name for one in claimed}) == len(claimed)
    assert not any(a.overlaps(b) for a, b in itertools.combinations([n for one in claimed for n in networks(one)], 2))


def test_a_slot_is_remembered(mine: State) -> None:
    assert state.with_slot(mine, Path("/slots/1")).slot == "/slots/1"
    assert state.load(mine.key) == state.with_slot(mine, Path("/slots/1"))


def test_names_fit_the_kernels_limit_for_interfaces_and_lie_apart_from_docker(mine: State) -> None:
    assert len(mine.name) <= 15
    assert {mine.worker, mine.control_plane} == {f"{mine.name}-worker", f"{mine.name}-control-plane"}
    assert mine.kubeconfig.parent == mine.folder
    assert not mine.logs.is_relative_to(mine.folder)  # logs outlive `make down`


def test_a_checkout_that_is_gone_is_an_orphan_though_docker_made_its_folder_anew(tmp_path: Path) -> None:
    here, gone = tmp_path / "here", tmp_path / "gone"
    here.mkdir()
    (here / "pyproject.toml").touch()
    (gone / "e2e/node/audit-policy.yaml").mkdir(parents=True)
    state.claim(here)
    orphan = state.claim(gone)
    assert state.orphans() == [orphan]
