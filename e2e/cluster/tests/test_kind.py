from __future__ import annotations

import json

from e2e.cluster import settings
from e2e.cluster.cluster_state import ClusterState
from e2e.cluster.images.node_image import NodeImage
from e2e.cluster.kind import lifecycle

OWN = NodeImage("node:own", stock=False, reason="")


def test_ports_and_networks_are_those_of_the_checkout(state: ClusterState) -> None:
    networking = lifecycle.config(state, OWN)["networking"]
    assert networking["apiServerAddress"] == "127.0.0.1"
    assert networking["apiServerPort"] == state.api_port
    assert (networking["podSubnet"], networking["serviceSubnet"]) == ("10.64.0.0/16", "10.65.0.0/16")


def test_only_the_stock_image_brings_its_own_pod_network(state: ClusterState) -> None:
    assert lifecycle.config(state, OWN)["networking"]["disableDefaultCNI"] is True
    stock = NodeImage("kindest/node:v1", stock=True, reason="")
    assert lifecycle.config(state, stock)["networking"]["disableDefaultCNI"] is False


def test_the_worker_keeps_its_images_in_the_image_store_and_the_control_plane_does_not(state: ClusterState) -> None:
    control_plane, worker = lifecycle.config(state, OWN)["nodes"]
    assert (control_plane["role"], worker["role"]) == ("control-plane", "worker")
    assert {node["image"] for node in (control_plane, worker)} == {"node:own"}
    assert worker["extraMounts"] == [{"hostPath": state.image_store, "containerPath": "/var/lib/containerd"}]
    assert state.image_store not in json.dumps(control_plane)


def test_the_api_server_writes_an_audit_log_under_our_policy(state: ClusterState) -> None:
    control_plane = lifecycle.config(state, OWN)["nodes"][0]
    (mount,) = control_plane["extraMounts"]
    assert mount["hostPath"] == str(settings.NODE_FILES / "audit-policy.yaml")
    assert (settings.NODE_FILES / "audit-policy.yaml").exists()
    patch = json.loads(control_plane["kubeadmConfigPatches"][0])["apiServer"]
    assert patch["extraArgs"]["audit-policy-file"] == mount["containerPath"]
    readable = [volume["mountPath"] for volume in patch["extraVolumes"]]
    assert all(
        any(file.startswith(path) for path in readable) for file in (lifecycle.AUDIT_LOG, mount["containerPath"])
    )


def test_the_configuration_is_json_that_kind_reads_as_yaml(state: ClusterState) -> None:
    config = lifecycle.config(state, OWN)
    assert json.loads(json.dumps(config)) == config
    assert config["apiVersion"] == "kind.x-k8s.io/v1alpha4"
