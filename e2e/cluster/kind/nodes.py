"""Starts and configures the nodes of a cluster: readiness, routes, the registry, advertised GPUs."""

from __future__ import annotations

import json
from datetime import datetime
from itertools import permutations
from pathlib import Path
from typing import Any

from devtools.polling import wait_for
from e2e.cluster import registry, settings, shell
from e2e.cluster.cluster_state import ClusterState
from e2e.cluster.docker.daemon import Docker
from e2e.cluster.kind import node_dns

API_SECONDS = 90.0
READY_SECONDS = 120.0
GPU_RESOURCE = "nvidia.com/gpu"
GPU_LABELS = {
    "nvidia.com/gpu.present": "true",
    "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
    "nvidia.com/gpu.family": "hopper",
    "nvidia.com/gpu.memory": "81559",
    "nvidia.com/gpu.compute.major": "9",
    "nvidia.com/gpu.compute.minor": "0",
    "nvidia.com/gpu.replicas": "1",
    "nvidia.com/gpu.sharing-strategy": "none",
    "nvidia.com/mig.capable": "true",
    "nvidia.com/cuda.driver.major": "580",
    "nvidia.com/cuda.driver.minor": "95",
    "nvidia.com/cuda.driver.rev": "05",
    "nvidia.com/cuda.driver-version.full": "580.95.05",
    "nvidia.com/cuda.driver-version.major": "580",
    "nvidia.com/cuda.driver-version.minor": "95",
    "nvidia.com/cuda.driver-version.revision": "05",
    "nvidia.com/cuda.runtime.major": "13",
    "nvidia.com/cuda.runtime.minor": "0",
    "nvidia.com/cuda.runtime-version.full": "13.0",
    "nvidia.com/cuda.runtime-version.major": "13",
    "nvidia.com/cuda.runtime-version.minor": "0",
}
"""Labels as NVIDIA's GPU feature discovery writes them for an H100 SXM; memory is in MiB."""


def node_names(state: ClusterState) -> dict[str, str]:
    """Node names by role. A node's container has the same name."""
    return {"control-plane": state.control_plane, "worker": state.worker}


def gpu_labels(count: int) -> dict[str, str]:
    return {**GPU_LABELS, "nvidia.com/gpu.count": str(count)}


class Kubectl:
    """kubectl with the cluster's kubeconfig."""

    def __init__(self, program: Path, kubeconfig: Path) -> None:
        self._command = [str(program), f"--kubeconfig={kubeconfig}"]

    def __call__(self, *arguments: str, stdin: str | None = None, timeout: float = 60) -> str:
        """Output of `kubectl ARGUMENTS`; CommandFailed with its error."""
        return shell.output([*self._command, *arguments], stdin=stdin, timeout=timeout)

    def succeeds(self, *arguments: str) -> bool:
        return shell.succeeds([*self._command, *arguments], timeout=20)

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "-o", "json"))


def container_states(docker: Docker, state: ClusterState) -> dict[str, str]:
    """State (running, exited, ...) of each node container that exists, by role."""
    listing = docker.output("ps", "--all", "--format", "{{.Names}} {{.State}}", "--filter", f"name={state.name}-")
    return listed_states(listing, state)


def listed_states(listing: str, state: ClusterState) -> dict[str, str]:
    """State by role from lines of container name and state; other containers are left out."""
    found = dict(line.split() for line in listing.splitlines())
    return {role: found[name] for role, name in node_names(state).items() if name in found}


def start_stopped(docker: Docker, state: ClusterState) -> list[str]:
    """Start the node containers that do not run, the control plane first; their names."""
    states = container_states(docker, state)
    stopped = [node_names(state)[role] for role, word in sorted(states.items()) if word != "running"]
    for name in stopped:
        if states[next(role for role, node in node_names(state).items() if node == name)] == "paused":
            docker.output("unpause", name)
        else:
            docker.output("start", name)
    return stopped


def api_answers(kubectl: Kubectl, seconds: float = API_SECONDS) -> bool:
    return wait_for(lambda: kubectl.succeeds("get", "--raw", "/readyz", "--request-timeout=5s"), seconds, 1.0)


def all_ready(docker: Docker, kubectl: Kubectl, state: ClusterState, seconds: float = READY_SECONDS) -> bool:
    """Whether every node becomes Ready within `seconds`, as reported by a kubelet that runs now.

    For 40 seconds after a node has died the API server still reports it as Ready. A kubelet that registers again resets
    what was advertised, so nothing may be advertised before.
    """
    begun = {
        name: _parse_time(docker.output("inspect", "--format", "{{.State.StartedAt}}", name))
        for name in node_names(state).values()
    }

    def ready() -> bool:
        try:
            listed = kubectl.json("get", "nodes")["items"]
        except shell.CommandFailed:
            return False
        found = {node["metadata"]["name"]: node for node in listed}
        return all(name in found and is_ready(found[name], since) for name, since in begun.items())

    return wait_for(ready, seconds, 0.5)


def is_ready(node: Any, since: datetime) -> bool:
    """Whether a kubelet has reported, not before `since`, that its node is Ready."""
    (reported,) = [one for one in node["status"]["conditions"] if one["type"] == "Ready"]
    # Kubernetes gives whole seconds.
    return reported["status"] == "True" and _parse_time(reported["lastHeartbeatTime"]) >= since.replace(microsecond=0)


def _parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text.strip())


def pod_routes(nodes: Any) -> dict[str, list[tuple[str, str]]]:
    """For each node of a NodeList: (podCIDR, address) of every other node."""
    known = {
        node["metadata"]["name"]: (
            node["spec"]["podCIDR"],
            next(one["address"] for one in node["status"]["addresses"] if one["type"] == "InternalIP"),
        )
        for node in nodes["items"]
    }
    routes: dict[str, list[tuple[str, str]]] = {name: [] for name in known}
    for here, there in permutations(known, 2):
        routes[here].append(known[there])
    return routes


def set_routes(docker: Docker, kubectl: Kubectl) -> None:
    """Route each node's pods on every other node; our own node image has no pod network that does it."""
    for node, routes in pod_routes(kubectl.json("get", "nodes")).items():
        for subnet, address in routes:
            docker.output("exec", node, "ip", "route", "replace", subnet, "via", address)


def gpu_patch(count: int, resource: str = GPU_RESOURCE) -> list[dict[str, str]]:
    """JSON patch of a node's status that advertises `count` GPUs."""
    pointer = resource.replace("/", "~1")
    return [{"op": "add", "path": f"/status/capacity/{pointer}", "value": str(count)}]


def advertise_gpus(kubectl: Kubectl, state: ClusterState) -> None:
    """Advertise the GPUs as an extended resource (the documented way) and label the nodes.

    A kubelet sets the capacity to 0 when it registers again, so this is repeated at every `up`.
    """
    for role, node in node_names(state).items():
        count = settings.GPUS_PER_NODE[role]
        kubectl("patch", "node", node, "--subresource=status", "--type=json", "-p", json.dumps(gpu_patch(count)))
        labels = [f"{name}={value}" for name, value in gpu_labels(count).items()]
        kubectl("label", "node", node, "--overwrite", *labels)


def reject_unrouted_service_addresses(docker: Docker, state: ClusterState) -> None:
    """Reject packets that would leave a node for the address of a Service.

    kube-proxy has not rewritten such a packet (yet, or any more). Another host outside the cluster may have it.
    """
    for node in node_names(state).values():
        for chain in ("FORWARD", "OUTPUT"):
            rule = [chain, "-o", "eth0", "-d", state.service_subnet, "-j", "REJECT"]
            add = f"iptables -C {' '.join(rule)} 2>/dev/null || iptables -A {' '.join(rule)}"
            docker.output("exec", node, "sh", "-c", add)


def request_cpu_for_kube_proxy(kubectl: Kubectl) -> None:
    """Give kube-proxy a CPU request. Without one it gets almost none while engines start, and Services lag behind."""
    kubectl("-n", "kube-system", "set", "resources", "daemonset/kube-proxy", "--requests=cpu=250m")


def configure(docker: Docker, kubectl: Kubectl, state: ClusterState, *, stock: bool) -> None:
    """Set everything that nodes lose when they or Docker restart: routes, names, the registry, advertised GPUs."""
    if not stock:
        set_routes(docker, kubectl)
    for node in node_names(state).values():
        node_dns.repair(docker, node)
        registry.configure_node(docker, state, node)
    reject_unrouted_service_addresses(docker, state)
    request_cpu_for_kube_proxy(kubectl)
    advertise_gpus(kubectl, state)
