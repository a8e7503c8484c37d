from __future__ import annotations

import json
import tomllib
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster import registry, settings, shell
from e2e.cluster.cluster_state import ClusterState
from e2e.cluster.docker import network
from e2e.cluster.kind import nodes
from e2e.cluster.tests.conftest import Program


def node(name: str, pods: str, address: str) -> dict[str, Any]:
    addresses = [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": address}]
    return {"metadata": {"name": name}, "spec": {"podCIDR": pods}, "status": {"addresses": addresses}}


def test_each_node_gets_a_route_to_the_pods_of_every_other() -> None:
    listed = {"items": [node(str(n), f"10.64.{n}.0/24", f"10.66.0.{n}") for n in (1, 2, 3)]}
    routes = nodes.pod_routes(listed)
    assert routes["1"] == [("10.64.2.0/24", "10.66.0.2"), ("10.64.3.0/24", "10.66.0.3")]
    assert {name: len(found) for name, found in routes.items()} == {"1": 2, "2": 2, "3": 2}
    assert nodes.pod_routes({"items": [node("only", "10.64.0.0/24", "10.66.0.1")]}) == {"only": []}


def test_gpus_are_advertised_as_an_extended_resource_whose_slash_is_escaped() -> None:
    assert nodes.gpu_patch(8) == [{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": "8"}]


def test_every_node_is_patched_with_its_own_number_and_labelled(
    state: ClusterState, program: Program, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    kubectl = program("kubectl", f"import json; print(json.dumps(sys.argv[1:]), file=open({str(calls)!r}, 'a'))")
    nodes.advertise_gpus(nodes.Kubectl(kubectl, state.kubeconfig), state)
    calls_made = [json.loads(line) for line in calls.read_text().splitlines()]
    assert all(words[0] == f"--kubeconfig={state.kubeconfig}" for words in calls_made)
    patched = {words[3]: json.loads(words[-1])[0]["value"] for words in calls_made if words[1] == "patch"}
    labelled = {words[3]: words[5:] for words in calls_made if words[1] == "label"}
    count = settings.GPUS_PER_NODE
    assert patched == {state.control_plane: str(count["control-plane"]), state.worker: str(count["worker"])}
    assert f"nvidia.com/gpu.count={count['worker']}" in labelled[state.worker]
    assert "nvidia.com/gpu.memory=81559" in labelled[state.control_plane]


@pytest.mark.parametrize(
    ("status", "heartbeat", "ready"),
    [
        ("True", "2026-11-26T16:00:03Z", True),
        (
            "True",
            "2026-11-26T16:00:02Z",
            True,
        ),  # whole seconds: reported just after the start
        ("True", "2026-11-26T15:59:59Z", False),  # by the kubelet that has died
        ("Unknown", "2026-11-26T16:00:03Z", False),
    ],
)
def test_a_node_is_ready_by_the_word_of_the_kubelet_that_runs_now(status: str, heartbeat: str, ready: bool) -> None:
    conditions = [
        {"type": "MemoryPressure", "status": "False", "lastHeartbeatTime": heartbeat},
        {"type": "Ready", "status": status, "lastHeartbeatTime": heartbeat},
    ]
    started = datetime.fromisoformat("2026-11-26T16:00:02.123456789Z")
    assert nodes.is_ready({"status": {"conditions": conditions}}, started) is ready


def test_labels_are_values_that_kubernetes_takes() -> None:
    for name, value in nodes.gpu_labels(8).items():
        assert isinstance(value, str), name
        assert 0 < len(value) <= 63


def test_the_states_of_our_nodes_are_told_apart_from_other_containers(state: ClusterState) -> None:
    listing = f"{state.worker} exited\n{state.registry_container} running\n{state.worker}2 running\n"
    assert nodes.listed_states(listing, state) == {"worker": "exited"}
    assert nodes.listed_states("", state) == {}


def test_containerd_is_sent_from_the_local_name_to_the_registrys_container(state: ClusterState) -> None:
    hosts = tomllib.loads(registry.hosts_toml(state))["host"]
    assert hosts == {f"http://{state.registry_container}:5000": {"capabilities": ["pull", "resolve"]}}


def test_the_registrys_configuration_is_yaml_with_the_port_that_is_published() -> None:
    config = yaml.safe_load(registry.CONFIG)
    assert config["http"] == {"addr": f":{registry.PORT}"}
    assert config["storage"]["filesystem"] == {"rootdirectory": "/var/lib/registry"}


def test_the_network_has_a_subnet_and_a_bridge_of_its_own(state: ClusterState) -> None:
    assert network.options(state) == [
        "--subnet=10.66.0.0/24", "-o", "com.docker.network.bridge.name=llm-0123abcd",
    ]  # fmt: skip


def test_a_failed_kubectl_has_its_error(program: Program, tmp_path: Path) -> None:
    kubectl = nodes.Kubectl(program("kubectl", "sys.exit('node not found')"), tmp_path)
    assert not kubectl.succeeds("get", "node")
    with pytest.raises(shell.CommandFailed, match="node not found"):
        kubectl("get", "node")
