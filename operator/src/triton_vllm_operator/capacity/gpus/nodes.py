"""The GPUs of nodes: from their allocatable resources, their labels and what they publish by DRA."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from triton_vllm_operator.api import quantity
from triton_vllm_operator.capacity.gpus.products import GPUClass, gpu_of_card

WHOLE_GPU: Final = "nvidia.com/gpu"
"""Extended resource of a whole GPU."""
DEVICES: Final = "gpuDevices"
"""Key of node objects that Kubernetes does not have: extended resource -> GPUs that the node publishes by DRA."""
_LABEL: Final = "nvidia.com/gpu."
_DRIVER_LABEL: Final = "nvidia.com/cuda.driver"
_LONGEST_NUMBER: Final = 11
"""Digits of a label's number; MiB of memory and parts of versions are far shorter."""

Node = Mapping[str, Any]
"""A Node object as the API server sends it, perhaps with `DEVICES`."""


def allocatable_gpus(node: Node, resource: str = WHOLE_GPU) -> int:
    """Return how many GPUs pods can request on a node: as its kubelet reports, else as it publishes by DRA."""
    if is_dra_only(node, resource):
        return _published(node, resource).count
    return quantity.whole_number(_allocatable(node).get(resource))


def is_dra_only(node: Node, resource: str = WHOLE_GPU) -> bool:
    """Return whether a node publishes its GPUs by DRA only.

    Pods get such GPUs where a DeviceClass has the resource as its `extendedResourceName`.
    """
    return resource not in _allocatable(node) and resource in (node.get(DEVICES) or {})


def gpu_of_node(node: Node, resource: str = WHOLE_GPU) -> GPUClass | None:
    """Return the GPU class of a node with its count, from its labels; None for a node without such GPUs.

    Where the memory does not follow from the labels, it is that of the devices that the node publishes by DRA.
    """
    labels = (node.get("metadata") or {}).get("labels") or {}
    count = allocatable_gpus(node, resource)
    if count <= 0:
        return None
    product, memory_mib = str(labels.get(_LABEL + "product", "")), _number(labels.get(_LABEL + "memory"))
    found = gpu_of_card(product, memory_mib, _capability(labels), _driver(labels), count)
    if found is None and (device := _published(node, resource)).memory_bytes:
        return replace(device, count=count, per_node=count)
    return found


def gpu_classes(nodes: Iterable[Node], resource: str = WHOLE_GPU) -> tuple[GPUClass, ...]:
    """Return the GPU classes of the nodes with their counts, largest memory first."""
    grouped = nodes_by_class(nodes, resource).values()
    merged = [_merged([gpu for _, gpu in members]) for members in grouped if members[0][1].memory_bytes]
    return tuple(sorted(merged, key=lambda gpu: (-gpu.memory_bytes, gpu.product)))


def nodes_by_class(nodes: Iterable[Node], resource: str) -> dict[tuple[str, int], list[tuple[str, GPUClass]]]:
    """Group nodes: (product, bytes of memory) -> names of nodes, each with its GPUs.

    The key of GPUs of unknown memory is ("", 0).
    """
    grouped: dict[tuple[str, int], list[tuple[str, GPUClass]]] = {}
    for node in nodes:
        if count := allocatable_gpus(node, resource):
            gpu = gpu_of_node(node, resource) or GPUClass("", 0, count=count, per_node=count)
            name = str((node.get("metadata") or {}).get("name", ""))
            grouped.setdefault((gpu.product, gpu.memory_bytes), []).append((name, gpu))
    return grouped


def _allocatable(node: Node) -> Mapping[str, Any]:
    return (node.get("status") or {}).get("allocatable") or {}


def _published(node: Node, resource: str) -> GPUClass:
    devices: Mapping[str, GPUClass] = node.get(DEVICES) or {}
    return devices.get(resource, GPUClass("", 0))


def _number(label: object) -> int:
    """Return the number that a label's value is; 0 for anything else."""
    text = str(label)
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER else 0


def _capability(labels: Mapping[str, Any]) -> tuple[int, int] | None:
    major = _number(labels.get(_LABEL + "compute.major"))
    return (major, _number(labels.get(_LABEL + "compute.minor"))) if major else None


def _driver(labels: Mapping[str, Any]) -> tuple[int, ...]:
    full = str(labels.get(f"{_DRIVER_LABEL}-version.full", ""))
    if full:
        return tuple(_number(part) for part in full.split("."))
    parts = [labels.get(f"{_DRIVER_LABEL}.{part}") for part in ("major", "minor", "rev")]
    return tuple(_number(part) for part in parts if part is not None)


def _merged(members: Sequence[GPUClass]) -> GPUClass:
    """Return one class for all nodes, with the oldest driver among them."""
    return replace(
        members[-1],
        driver=min((gpu.driver for gpu in members if gpu.driver), default=()),
        count=sum(gpu.count for gpu in members),
        per_node=max(gpu.per_node for gpu in members),
    )
