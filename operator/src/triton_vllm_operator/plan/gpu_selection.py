"""The classes of GPU that a pod of an LLMDeployment may land on, from the nodes and their labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.capacity import (
    GPUClass,
    ShapeError,
    allocatable_gpus,
    gpu_by_product,
    gpu_classes,
    gpu_of_memory,
)
from triton_vllm_operator.plan.not_planned import NotPlanned

_PRODUCT_LABEL = "nvidia.com/gpu.product"
_GPU_LABEL_PREFIX = "nvidia.com/gpu."
_MIG_RESOURCE_PREFIX = "nvidia.com/mig-"
_SHARING_LABEL = "nvidia.com/gpu.sharing-strategy"

Node = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class GPUSelection:
    """GPU classes of the cluster, as the spec selects them.

    Attributes:
        allowed: classes that a pod may land on.
        others: classes that the spec could select by `spec.resources.gpu.product`.
    """

    allowed: Sequence[GPUClass]
    others: Sequence[GPUClass] = ()


def select_gpu_classes(llm: LLMDeployment, nodes: Sequence[Node]) -> GPUSelection | NotPlanned:
    """Classes by what the nodes offer and their labels; where any has a node with all GPUs of a pod, only those."""
    gpu = llm.spec.resources.gpu
    resource = gpu.resource_name
    selected = _selected(llm, nodes)
    allowed = _with_product(llm, selected)
    classes = _classes_of(allowed, resource)
    if gpu.memory_gib is not None:
        return GPUSelection([_class_of_stated_memory(gpu.memory_gib, gpu.product, classes)])
    if not allowed:
        return _class_of_product(llm, any(allocatable_gpus(node, resource) for node in nodes))
    if shared := next((node for node in allowed if _is_shared(node)), None):
        return NotPlanned(Reason.GPUS_SHARED, _shared_message(shared))
    if sum(found.count for found in classes) < sum(allocatable_gpus(node, resource) for node in allowed):
        return NotPlanned(Reason.GPU_MEMORY_UNKNOWN, _unlabelled_message(llm, allowed))
    fitting = [found for found in classes if found.per_node >= llm.gpus_per_pod] or classes
    return GPUSelection(fitting, _classes_of([node for node in selected if _is_selectable(node, resource)], resource))


def schedulable_nodes(llm: LLMDeployment, nodes: Iterable[Node]) -> list[Node]:
    """The nodes that offer GPUs and that a pod may land on by their labels; a MIG slice's labels in place of the
    card's."""
    resource = llm.spec.resources.gpu.resource_name
    return [_with_slice_labels(node, resource) for node in _with_product(llm, _selected(llm, nodes))]


def _selected(llm: LLMDeployment, nodes: Iterable[Node]) -> list[Node]:
    """Nodes that offer the resource and match `spec.scheduling.nodeSelector`."""
    resource, selector = llm.spec.resources.gpu.resource_name, llm.spec.scheduling.node_selector
    return [node for node in nodes if allocatable_gpus(node, resource) and selector.items() <= _labels(node).items()]


def _with_product(llm: LLMDeployment, nodes: Iterable[Node]) -> list[Node]:
    product = llm.spec.resources.gpu.product
    return [node for node in nodes if not product or _labels(node).get(_PRODUCT_LABEL) == product]


def _classes_of(nodes: Sequence[Node], resource: str) -> Sequence[GPUClass]:
    return gpu_classes([_with_slice_labels(node, resource) for node in nodes], resource=resource)


def _is_selectable(node: Node, resource: str) -> bool:
    """Whether `spec.resources.gpu.product` can select this node: it does not select by the label of a MIG slice."""
    return _PRODUCT_LABEL in _labels(node) and not _is_shared(node) and not resource.startswith(_MIG_RESOURCE_PREFIX)


def _is_shared(node: Node) -> bool:
    return _labels(node).get(_SHARING_LABEL, "none") not in ("none", "")


def _class_of_stated_memory(memory_gib: float, product: str | None, present: Sequence[GPUClass]) -> GPUClass:
    """The memory that the spec states, with the compute capability of the product or of what is there."""
    known = present[0] if present else _known_product(product or "")
    plain = gpu_of_memory(memory_gib)
    if known is None:
        return plain
    return replace(known, product=product or plain.product, memory_bytes=plain.memory_bytes)


def _known_product(product: str) -> GPUClass | None:
    try:
        return gpu_by_product(product) if product else None
    except ShapeError:
        return None


def _class_of_product(llm: LLMDeployment, others: bool) -> GPUSelection | NotPlanned:
    """Without a node for the pods yet, one may be added: the product's own figures are used where they are known."""
    gpu = llm.spec.resources.gpu
    if known := _known_product(gpu.product or ""):
        return GPUSelection([known])
    where = " and matches spec.scheduling.nodeSelector and spec.resources.gpu.product" if others else ""
    message = f"The memory of the GPUs is not known: no node offers {gpu.resource_name}{where}. "
    return NotPlanned(Reason.GPU_MEMORY_UNKNOWN, f"{message}Set spec.resources.gpu.memoryGiB, or add such a node.")


def _labels(node: Node) -> Mapping[str, str]:
    return node["metadata"].get("labels") or {}


def _with_slice_labels(node: Node, resource: str) -> Node:
    """A node that offers MIG slices under their own resource name, with the slice's labels in place of the card's.

    The feature discovery writes nvidia.com/mig-3g.40gb.memory beside nvidia.com/gpu.memory, which is the whole card.
    """
    if not resource.startswith(_MIG_RESOURCE_PREFIX):
        return node
    labels = dict(_labels(node))
    for name in ("product", "memory"):
        labels.pop(f"{_GPU_LABEL_PREFIX}{name}", None)
        if (value := labels.get(f"{resource}.{name}")) is not None:
            labels[f"{_GPU_LABEL_PREFIX}{name}"] = value
    return {**node, "metadata": {**node["metadata"], "labels": labels}}


def _shared_message(node: Node) -> str:
    strategy = _labels(node)[_SHARING_LABEL]
    return (
        f"The GPUs of node {node['metadata']['name']} are shared ({strategy}): other pods use the same memory. "
        "Set spec.resources.gpu.memoryGiB to the share of one pod, or select nodes with whole GPUs."
    )


def _unlabelled_message(llm: LLMDeployment, nodes: Sequence[Node]) -> str:
    resource = llm.spec.resources.gpu.resource_name
    unlabelled = [node["metadata"]["name"] for node in nodes if not _classes_of([node], resource)]
    return (
        f"The memory of the GPUs of node {unlabelled[0]} is not known. Install NVIDIA's GPU feature discovery, which "
        "labels nodes with nvidia.com/gpu.memory, set spec.resources.gpu.memoryGiB, or select labelled nodes with "
        "spec.scheduling.nodeSelector."
    )
