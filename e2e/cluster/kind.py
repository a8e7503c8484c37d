"""The kind cluster: its configuration, creation and removal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from e2e.cluster import parts, settings, shell
from e2e.cluster.engine import Engine
from e2e.cluster.node_image import NodeImage
from e2e.cluster.state import State

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


def config(mine: State, image: NodeImage) -> dict[str, Any]:
    """kind's configuration: a control plane with an audit log, and a worker with a lasting image store."""
    policy = {"hostPath": str(settings.NODE_FILES / "audit-policy.yaml"), "containerPath": POLICY_ON_NODE}
    store = {"hostPath": mine.slot, "containerPath": "/var/lib/containerd"}
    return {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "networking": {
            "apiServerAddress": "127.0.0.1",
            "apiServerPort": mine.api_port,
            "podSubnet": mine.pod_subnet,
            "serviceSubnet": mine.service_subnet,
            "disableDefaultCNI": not image.stock,
            # Not nftables: its verdict maps were seen to lose their elements after some hundred changes of Services
            # (kube-proxy 1.34.4, nft 1.0.6), and no pod reached any Service until kube-proxy was started anew.
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


def _environment(engine: Engine, mine: State) -> dict[str, str]:
    return {**engine.env, "KIND_EXPERIMENTAL_DOCKER_NETWORK": mine.name}


def program() -> Path:
    return parts.build(parts.KIND)["kind"]


def create(engine: Engine, mine: State, image: NodeImage, log: Path) -> None:
    """Create the cluster and write its kubeconfig. CommandFailed with kind's own words."""
    file = mine.folder / "kind.json"
    file.write_text(json.dumps(config(mine, image), indent=2))
    options = ["--name", mine.name, "--config", str(file), "--kubeconfig", str(mine.kubeconfig), "--retain"]
    shell.logged([program(), "create", "cluster", *options], log, env=_environment(engine, mine))


def delete(engine: Engine, mine: State, log: Path) -> None:
    """Remove the cluster's containers and their volumes; nothing happens when there are none."""
    options = ["--name", mine.name, "--kubeconfig", str(mine.kubeconfig)]
    shell.logged([program(), "delete", "cluster", *options], log, env=_environment(engine, mine))


def write_kubeconfig(engine: Engine, mine: State) -> None:
    """Write the kubeconfig again from the standing cluster."""
    text = shell.output([program(), "get", "kubeconfig", "--name", mine.name], env=_environment(engine, mine))
    scratch = mine.folder / "kubeconfig.new"
    scratch.write_text(text)
    scratch.chmod(0o600)
    scratch.rename(mine.kubeconfig)
