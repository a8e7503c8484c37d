"""GPU classes: what a node's labels, a product name or a number of GiB say about one GPU; and who holds them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from triton_vllm_operator.api.names import INSTANCE_LABEL
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.capacity.errors import ShapeError
from triton_vllm_operator.catalog import loader

MIB = 1024 * 1024
WHOLE_GPU = "nvidia.com/gpu"
# A key of node objects that Kubernetes does not have: what the node publishes by DRA, by extended resource.
DEVICES = "gpuDevices"
_LABEL = "nvidia.com/gpu."
_MIG = re.compile(r"(\d)g\.(\d+)gb")


@dataclass(frozen=True, slots=True)
class GPUClass:
    """One kind of GPU. ``memory_bytes`` is what the CUDA runtime reports as total, which the engine multiplies.

    ``count`` GPUs of the kind in the cluster, ``per_node`` on the largest node.
    """

    product: str
    memory_bytes: int
    compute_capability: tuple[int, int] = (8, 0)
    driver: tuple[int, ...] = ()
    count: int = 0
    per_node: int = 0
    driver_floor: int = 0

    @property
    def driver_version(self) -> str:
        """The oldest driver under a GPU of the class, as NVIDIA writes it; "" where no node tells it."""
        first, *rest = self.driver or ("",)
        return ".".join([str(first), *(f"{part:02d}" for part in rest if isinstance(part, int))])

    @property
    def memory_gib(self) -> float:
        """Total memory in GiB."""
        return self.memory_bytes / 2**30


@dataclass(frozen=True, slots=True)
class Holder:
    """A pod on a node with what it asks of one extended resource; `deployment`: name of its LLMDeployment, or ""."""

    namespace: str
    pod: str
    resource: str
    gpus: int
    priority: int
    deployment: str
    node: str


@dataclass(frozen=True, slots=True)
class ClassUse:
    """Who holds the GPUs of one class.

    Attributes:
        product: "" for the GPUs of which nothing tells the memory.
        count: GPUs on all nodes.
        free: node -> GPUs that no known pod asks for.
        holders: the pods on these nodes.
    """

    product: str
    count: int
    free: Mapping[str, int]
    holders: tuple[Holder, ...]


def _table() -> dict[str, Any]:
    return loader.load_json("gpus.json", dict[str, Any], package="triton_vllm_operator.capacity")


def _normal(product: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", product.lower()).strip("-").removeprefix("nvidia-").removesuffix("-shared")


def gpu_by_product(product: str) -> GPUClass:
    """The class of a product name (``NVIDIA-L40S``, ``H100 80GB HBM3``, ``A100-80GB-MIG-3g.40gb``)."""
    mig = _MIG.search(product)
    base = _best_entry(_normal(product.split("-MIG")[0]))
    if base is None:
        raise ShapeError(
            Reason.GPU_PRODUCT_UNKNOWN,
            f"GPU product {product[:80]!r} is not in the table; give its memory in GiB instead",
        )
    memory = _usable(base["memory_mib"], base)
    if mig is not None:
        memory = _table()["mig_slices_gb"].get(mig.group(0), int(mig.group(2)) * 954) * MIB
    major, minor = base["compute_capability"]
    return GPUClass(product, memory, (major, minor), driver_floor=base["driver_floor"])


def _usable(memory_mib: int, entry: Mapping[str, Any] | None = None) -> int:
    """Bytes the CUDA runtime reports for a card of ``memory_mib``, which is less than the driver prints."""
    if entry is not None and "cuda_total_mib" in entry and abs(memory_mib - entry["memory_mib"]) < 1024:
        return int(entry["cuda_total_mib"]) * MIB
    return int(memory_mib * MIB * _table()["usable_share"])


@lru_cache(maxsize=256)  # a cluster has few products and many nodes
def _best_entry(wanted: str) -> dict[str, Any] | None:
    entries: list[dict[str, Any]] = _table()["classes"]
    exact = [entry for entry in entries if _normal(entry["product"]) == wanted]
    if exact:
        return exact[0]
    words = set(wanted.split("-"))
    near = [entry for entry in entries if words <= set(_normal(entry["product"]).split("-"))]
    if len({entry["memory_mib"] for entry in near}) > 1:
        names = ", ".join(entry["product"] for entry in near)
        raise ShapeError(
            Reason.GPU_PRODUCT_AMBIGUOUS, f"GPU product {wanted[:80]!r} could be {names}: name one of them"
        )
    return near[0] if near else None


def gpu_of_memory(memory_gib: float, compute_capability: tuple[int, int] = (8, 0)) -> GPUClass:
    """A class known only by its memory, as ``resources.gpu.memoryGiB`` or ``--gpu-memory-gib`` give it."""
    if not 0 < memory_gib <= 4096:
        raise ShapeError(Reason.GPU_MEMORY_INVALID, f"GPU memory of {memory_gib} GiB is not between 0 and 4096")
    return GPUClass(f"{memory_gib:g}GiB GPU", int(memory_gib * 2**30), compute_capability)


def gpus_offered(node: Mapping[str, Any], resource: str = WHOLE_GPU) -> int:
    """How many GPUs pods may ask a node object for: what its kubelet counts, else what it publishes by DRA."""
    if is_by_dra(node, resource):
        return _device(node, resource).count
    return _whole(_allocatable(node).get(resource))


def is_by_dra(node: Mapping[str, Any], resource: str = WHOLE_GPU) -> bool:
    """Whether only DRA tells of the GPUs: pods get them where a DeviceClass has that extendedResourceName."""
    return resource not in _allocatable(node) and resource in (node.get(DEVICES) or {})


def _allocatable(node: Mapping[str, Any]) -> Mapping[str, Any]:
    return (node.get("status") or {}).get("allocatable") or {}


def _device(node: Mapping[str, Any], resource: str) -> GPUClass:
    devices: Mapping[str, GPUClass] = node.get(DEVICES) or {}
    return devices.get(resource, GPUClass("", 0))


def gpu_of_node(node: Mapping[str, Any], resource: str = WHOLE_GPU) -> GPUClass | None:
    """The GPU class of a node object, from its feature labels and its count; None without GPUs.

    Where the labels do not tell the memory, the devices count that it publishes by DRA (see `dra.with_devices`).
    """
    labels = (node.get("metadata") or {}).get("labels") or {}
    count = gpus_offered(node, resource)
    if count <= 0:
        return None
    product, memory_mib = str(labels.get(_LABEL + "product", "")), _whole(labels.get(_LABEL + "memory"))
    found = gpu_of_card(product, memory_mib, _capability(labels), _driver(labels), count)
    if found is None and (device := _device(node, resource)).memory_bytes:
        return replace(device, count=count, per_node=count)
    return found


def gpu_of_card(
    product: str, memory_mib: int, capability: tuple[int, int] | None, driver: tuple[int, ...], count: int
) -> GPUClass | None:
    """The class of `count` GPUs as NVIDIA's software describes them; None where the memory is not known.

    Args:
        product: as the feature discovery writes it, "" where it is not known.
        memory_mib: as the driver reports it; 0 where it does not: then the product table knows, or nobody.
        capability: compute capability, where it is told.
    """
    known = _known(product)
    memory = _usable(memory_mib, _whole_card(product)) if memory_mib else (known.memory_bytes if known else 0)
    if not memory:
        return None
    return GPUClass(
        product=product or f"{memory / 2**30:.0f}GiB GPU",
        memory_bytes=memory,
        compute_capability=capability or (known.compute_capability if known else (8, 0)),
        driver=driver,
        count=count,
        per_node=count,
        driver_floor=known.driver_floor if known else 0,
    )


def _whole_card(product: str) -> dict[str, Any] | None:
    """The table's entry of a label's product; None for a slice, and for what the table does not name clearly."""
    if not product or "MIG" in product:
        return None
    try:
        return _best_entry(_normal(product))
    except ShapeError:
        return None


def _known(product: str) -> GPUClass | None:
    try:
        return gpu_by_product(product) if product else None
    except ShapeError:
        return None


def _whole(value: object) -> int:
    text = str(value if value is not None else "0")
    return int(text) if text.isdecimal() and len(text) < 12 else 0


def _capability(labels: Mapping[str, Any]) -> tuple[int, int] | None:
    major = _whole(labels.get(_LABEL + "compute.major"))
    if not major:
        return None
    return major, _whole(labels.get(_LABEL + "compute.minor"))


def _driver(labels: Mapping[str, Any]) -> tuple[int, ...]:
    full = str(labels.get("nvidia.com/cuda.driver-version.full", ""))
    if full:
        return tuple(_whole(part) for part in full.split("."))
    parts = [labels.get(f"nvidia.com/cuda.driver.{part}") for part in ("major", "minor", "rev")]
    return tuple(_whole(part) for part in parts if part is not None)


def gpu_classes(nodes: Iterable[Mapping[str, Any]], resource: str = WHOLE_GPU) -> tuple[GPUClass, ...]:
    """Classes present in the cluster with their counts, largest memory first."""
    grouped = _by_class(nodes, resource).values()
    merged = [_merged([gpu for _, gpu in one]) for one in grouped if one[0][1].memory_bytes]
    return tuple(sorted(merged, key=lambda gpu: (-gpu.memory_bytes, gpu.product)))


def class_uses(
    nodes: Iterable[Mapping[str, Any]], holders: Iterable[Holder], resource: str = WHOLE_GPU
) -> tuple[ClassUse, ...]:
    """Who holds the GPUs of the nodes, by class, in the order of `gpu_classes`; those of an unknown class last."""
    on: dict[str, list[Holder]] = {}
    for holder in holders:
        if holder.resource == resource:
            on.setdefault(holder.node, []).append(holder)
    grouped = sorted(_by_class(nodes, resource).items(), key=lambda item: (-item[0][1], item[0][0]))
    return tuple(
        ClassUse(
            product=product,
            count=sum(gpu.count for _, gpu in members),
            free={name: max(gpu.count - sum(h.gpus for h in on.get(name, [])), 0) for name, gpu in members},
            holders=tuple(holder for name, _ in members for holder in on.get(name, [])),
        )
        for (product, _), members in grouped
    )


def _by_class(nodes: Iterable[Mapping[str, Any]], resource: str) -> dict[tuple[str, int], list[tuple[str, GPUClass]]]:
    """(product, bytes of memory) -> names of nodes, each with its GPUs; ("", 0) where nothing tells the memory."""
    grouped: dict[tuple[str, int], list[tuple[str, GPUClass]]] = {}
    for node in nodes:
        if count := gpus_offered(node, resource):
            gpu = gpu_of_node(node, resource) or GPUClass("", 0, count=count, per_node=count)
            name = str((node.get("metadata") or {}).get("name", ""))
            grouped.setdefault((gpu.product, gpu.memory_bytes), []).append((name, gpu))
    return grouped


def _merged(members: Sequence[GPUClass]) -> GPUClass:
    """One class of all its nodes, with the oldest driver that one of them tells."""
    return replace(
        members[-1],
        driver=min((gpu.driver for gpu in members if gpu.driver), default=()),
        count=sum(gpu.count for gpu in members),
        per_node=max(gpu.per_node for gpu in members),
    )


def holders(pods: Iterable[Mapping[str, Any]]) -> Iterator[Holder]:
    """What pods on nodes ask of extended resources; pods that are over hold nothing any more."""
    for pod in pods:
        meta, spec = pod.get("metadata") or {}, pod.get("spec") or {}
        if not spec.get("nodeName") or (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}:
            continue
        for resource, asked in sorted(extended_requests(spec).items()):
            yield Holder(
                namespace=str(meta.get("namespace", "")),
                pod=str(meta.get("name", "")),
                resource=resource,
                gpus=asked,
                priority=int(spec.get("priority") or 0),
                deployment=str((meta.get("labels") or {}).get(INSTANCE_LABEL, "")),
                node=str(spec["nodeName"]),
            )


def extended_requests(spec: Mapping[str, Any]) -> dict[str, int]:
    """Extended resource -> how many a pod's spec asks for, as the scheduler counts.

    That is what runs together: the containers and the sidecars (init containers that are restarted always); or an init
    container with the sidecars before it, if that is more.
    """
    asked: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for container in spec.get("initContainers") or []:
        one = _of_container(container)
        most |= asked + one
        if container.get("restartPolicy") == "Always":
            asked += one
    for container in spec.get("containers") or []:
        asked += _of_container(container)
    return dict(most | asked)


def _of_container(container: Mapping[str, Any]) -> Counter[str]:
    resources = container.get("resources") or {}
    wanted = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return Counter({name: _whole(amount) for name, amount in wanted.items() if "/" in name and _whole(amount)})
