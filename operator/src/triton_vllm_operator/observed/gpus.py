"""Who holds the GPUs, as far as the operator's own watches and the nodes tell."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from triton_vllm_operator.api import names


@dataclass(frozen=True, slots=True)
class GPUUse:
    """One extended resource in the cluster.

    Attributes:
        resource: for example nvidia.com/gpu.
        allocatable: how many all nodes offer.
        largest_node: how many the largest node offers.
        holders: NAMESPACE/NAME of an LLMDeployment -> how many its scheduled pods hold.
    """

    resource: str
    allocatable: int
    largest_node: int
    holders: Mapping[str, int]


def gpu_use(resource: str, nodes: Iterable[Mapping[str, Any]], pods: Iterable[Mapping[str, Any]]) -> GPUUse:
    """Count one resource.

    Args:
        nodes: Node objects.
        pods: Pod objects of LLMDeployments, of every namespace that the operator sees.
    """
    offers = [int(node.get("status", {}).get("allocatable", {}).get(resource, 0)) for node in nodes]
    held: Counter[str] = Counter()
    for pod in pods:
        if _holds(pod) and (owner := pod["metadata"].get("labels", {}).get(names.INSTANCE_LABEL)):
            held[f"{pod['metadata']['namespace']}/{owner}"] += _asked(pod, resource)
    return GPUUse(resource, sum(offers), max(offers, default=0), {k: n for k, n in sorted(held.items()) if n})


def explain(use: GPUUse, wanted: int) -> str:
    """A sentence with who holds the GPUs, and one with what would help.

    Args:
        wanted: GPUs that one pod needs on one node.
    """
    if use.allocatable == 0:
        return (
            f"No node offers {use.resource}. Install the device plugin of the GPUs, add a GPU node, "
            "or name the right resource in spec.resources.gpu.resourceName."
        )
    if wanted > use.largest_node:
        return (
            f"A pod needs {wanted} {use.resource} on one node, and the largest node has {use.largest_node}. "
            "Lower spec.engine.tensorParallelSize or pipelineParallelSize, or add a larger node."
        )
    held = sum(use.holders.values())
    by = ", ".join(f"{name} {count}" for name, count in use.holders.items()) or "none"
    return (
        f"A pod needs {wanted} {use.resource} on one node. Of {use.allocatable} in the cluster, "
        f"LLMDeployments hold {held} ({by}); other workloads may hold some of the rest. "
        "Scale one of them down, delete it, or add a GPU node."
    )


def _holds(pod: Mapping[str, Any]) -> bool:
    over = pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}
    return bool(pod.get("spec", {}).get("nodeName")) and not over


def _asked(pod: Mapping[str, Any], resource: str) -> int:
    limits = (c.get("resources", {}).get("limits", {}) for c in pod["spec"].get("containers", []))
    return sum(int(limit.get(resource, 0)) for limit in limits)
