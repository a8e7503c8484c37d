"""Configures, creates and removes the kind cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from e2e.cluster import settings, shell
from e2e.cluster.cluster_state import ClusterState
from e2e.cluster.docker.daemon import Docker
from e2e.cluster.images import binaries
from e2e.cluster.images.node_image import NodeImage

READY_SECONDS = 180
AUDIT_LOG = "/var/log/kubernetes/audit.log"
POLICY_ON_NODE = "/etc/kubernetes/audit-policy.yaml"


def _same_path(path: str) -> dict[str, str]:
    return {"hostPath": path, "mountPath": path}


def audit_patch() -> str:
    """kubeadm patch that makes the API server write an audit log of at most 2 x 50 MB."""
    arguments = {
        "audit-policy-file": POLICY_ON_NODE,
        "audit-log-path": AUDIT_LOG,
        "audit-log-maxsize": "50",
        "audit-log-maxbackup": "1",
    }
    volumes = [
        {"name": "audit-policy", **_same_path(POLICY_ON_NODE), "pathType": "File", "readOnly": True},
        {"name": "audit-logs", **_same_path("/var/log/kubernetes"), "pathType": "DirectoryOrCreate"},
    ]
    patch = {
        "apiVersion": "kubeadm.k8s.io/v1beta3",
        "kind": "ClusterConfiguration",
        "apiServer": {"extraArgs": arguments, "extraVolumes": volumes},
    }
    return json.dumps(patch)


def config(state: ClusterState, image: NodeImage) -> dict[str, Any]:
    """kind's configuration: a control plane with an audit log, and a worker with an image store that outlives it."""
    policy = {"hostPath": str(settings.NODE_FILES / "audit-policy.yaml"), "containerPath": POLICY_ON_NODE}
    store = {"hostPath": state.image_store, "containerPath": "/var/lib/containerd"}
    return {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "networking": {
            "apiServerAddress": "127.0.0.1",
            "apiServerPort": state.api_port,
            "podSubnet": state.pod_subnet,
            "serviceSubnet": state.service_subnet,
            "disableDefaultCNI": not image.stock,
            # Not nftables: its verdict maps were seen to lose their elements after some hundred changes of Services
            # (kube-proxy 1.34.4, nft 1.0.6), and no pod reached any Service until kube-proxy was restarted.
            "kubeProxyMode": "iptables",
        },
        "nodes": [
            {
                "role": "control-plane",
                "image": image.name,
                "extraMounts": [{**policy, "readOnly": True}],
                "kubeadmConfigPatches": [audit_patch()],
            },
            {"role": "worker", "image": image.name, "extraMounts": [store]},
        ],
    }


def _environment(docker: Docker, state: ClusterState) -> dict[str, str]:
    return {**docker.env, "KIND_EXPERIMENTAL_DOCKER_NETWORK": state.name}


def program() -> Path:
    """Path of kind, built if missing."""
    return binaries.build(binaries.KIND)["kind"]


def create(docker: Docker, state: ClusterState, image: NodeImage, log: Path) -> None:
    """Create the cluster and write its kubeconfig; CommandFailed with kind's error."""
    file = state.folder / "kind.json"
    file.write_text(json.dumps(config(state, image), indent=2))
    options = ["--name", state.name, "--config", str(file), "--kubeconfig", str(state.kubeconfig), "--retain"]
    shell.logged([program(), "create", "cluster", *options], log, env=_environment(docker, state))


def delete(docker: Docker, state: ClusterState, log: Path) -> None:
    """Remove the cluster's containers and their volumes, if there are any."""
    options = ["--name", state.name, "--kubeconfig", str(state.kubeconfig)]
    shell.logged([program(), "delete", "cluster", *options], log, env=_environment(docker, state))


def write_kubeconfig(docker: Docker, state: ClusterState) -> None:
    """Write the kubeconfig of a running cluster again."""
    text = shell.output([program(), "get", "kubeconfig", "--name", state.name], env=_environment(docker, state))
    scratch = state.folder / "kubeconfig.new"
    scratch.write_text(text)
    scratch.chmod(0o600)
    scratch.rename(state.kubeconfig)
