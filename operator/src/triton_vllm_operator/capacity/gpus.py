"""GPU classes: what a node's labels, a product name or a number of GiB say about one GPU."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from .errors import ShapeError

MIB = 1024 * 1024
_LABEL = "nvidia.com/gpu."
_MIG = re.compile(r"(\d)g\.(\d+)gb")


@dataclass(frozen=True, slots=True)
class GPUClass:
    """One kind of GPU. ``memory_bytes`` is what the CUDA runtime reports as total, which the engine multiplies.

    ``count`` GPUs of the kind in the cluster, ``free`` of them not requested, ``per_node`` on the largest node.
    """

    product: str
    memory_bytes: int
    compute_capability: tuple[int, int] = (8, 0)
    driver: tuple[int, ...] = ()
    count: int = 0
    free: int = 0
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
    """A pod that holds GPUs of a class: who to ask when all are taken."""

    namespace: str
    pod: str
    gpus: int
    priority: int
    deployment: str
    node: str


@cache
def _table() -> dict[str, Any]:
    text = files(__package__).joinpath("data/gpus.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table


def _normal(product: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", product.lower()).strip("-").removeprefix("nvidia-").removesuffix("-shared")


def gpu_by_product(product: str) -> GPUClass:
    """The class of a product name (``NVIDIA-L40S``, ``H100 80GB HBM3``, ``A100-80GB-MIG-3g.40gb``)."""
    mig = _MIG.search(product)
    base = _best_entry(_normal(product.split("-MIG")[0]))
    if base is None:
        raise ShapeError(
            "GPUProductUnknown", f"GPU product {product[:80]!r} is not in the table; give its memory in GiB instead"
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
        raise ShapeError("GPUProductAmbiguous", f"GPU product {wanted[:80]!r} could be {names}: name one of them")
    return near[0] if near else None


def gpu_of_memory(memory_gib: float, compute_capability: tuple[int, int] = (8, 0)) -> GPUClass:
    """A class known only by its memory, as ``resources.gpu.memoryGiB`` or ``--gpu-memory-gib`` give it."""
    if not 0 < memory_gib <= 4096:
        raise ShapeError("GPUMemoryInvalid", f"GPU memory of {memory_gib} GiB is not between 0 and 4096")
    return GPUClass(f"{memory_gib:g}GiB GPU", int(memory_gib * 2**30), compute_capability)


def gpu_of_node(node: Mapping[str, Any], resource: str = "nvidia.com/gpu") -> GPUClass | None:
    """The GPU class of a node object, from its feature labels and allocatable count; None without GPUs.

    Memory comes from the driver's own label where there is one, else from the product table.
    """
    labels = (node.get("metadata") or {}).get("labels") or {}
    count = _whole(((node.get("status") or {}).get("allocatable") or {}).get(resource))
    product = str(labels.get(_LABEL + "product", ""))
    if count <= 0:
        return None
    known = _known(product)
    memory_mib = _whole(labels.get(_LABEL + "memory"))
    memory = _usable(memory_mib, _whole_card(product)) if memory_mib else (known.memory_bytes if known else 0)
    if not memory:
        return None
    return GPUClass(
        product=product or f"{memory / 2**30:.0f}GiB GPU",
        memory_bytes=memory,
        compute_capability=_capability(labels) or (known.compute_capability if known else (8, 0)),
        driver=_driver(labels),
        count=count,
        free=count,
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
    return int(text) if text.isdigit() and len(text) < 12 else 0


def _capability(labels: Mapping[str, Any]) -> tuple[int, int] | None:
    major = str(labels.get(_LABEL + "compute.major", ""))
    if not major.isdigit():
        return None
    return int(major), _whole(labels.get(_LABEL + "compute.minor"))


def _driver(labels: Mapping[str, Any]) -> tuple[int, ...]:
    full = str(labels.get("nvidia.com/cuda.driver-version.full", ""))
    if full:
        return tuple(_whole(part) for part in full.split("."))
    parts = [labels.get(f"nvidia.com/cuda.driver.{part}") for part in ("major", "minor", "rev")]
    return tuple(_whole(part) for part in parts if part is not None)


def gpu_classes(
    nodes: Iterable[Mapping[str, Any]], pods: Iterable[Mapping[str, Any]] = (), resource: str = "nvidia.com/gpu"
) -> tuple[GPUClass, ...]:
    """Classes present in the cluster with their counts, and free ones when the pods are given, largest memory first."""
    held = gpus_held(pods, resource)
    merged: dict[tuple[str, int], GPUClass] = {}
    for node in nodes:
        found = gpu_of_node(node, resource)
        if found is None:
            continue
        used = held.get(str((node.get("metadata") or {}).get("name", "")), 0)
        _add(merged, found, max(found.count - used, 0))
    return tuple(sorted(merged.values(), key=lambda gpu: (-gpu.memory_bytes, gpu.product)))


def _add(merged: dict[tuple[str, int], GPUClass], found: GPUClass, free: int) -> None:
    key = (found.product, found.memory_bytes)
    before = merged.get(key)
    driver = min((d for d in (before.driver if before else (), found.driver) if d), default=())
    merged[key] = GPUClass(
        product=found.product,
        memory_bytes=found.memory_bytes,
        compute_capability=found.compute_capability,
        driver=driver,
        count=found.count + (before.count if before else 0),
        free=free + (before.free if before else 0),
        per_node=max(found.per_node, before.per_node if before else 0),
        driver_floor=found.driver_floor,
    )


def gpus_held(pods: Iterable[Mapping[str, Any]], resource: str = "nvidia.com/gpu") -> dict[str, int]:
    """GPUs requested per node by pods that are bound and not finished."""
    held: dict[str, int] = {}
    for pod in pods:
        node = (pod.get("spec") or {}).get("nodeName")
        if node and not _finished(pod):
            held[str(node)] = held.get(str(node), 0) + pod_gpus(pod, resource)
    return held


def holders(pods: Iterable[Mapping[str, Any]], resource: str = "nvidia.com/gpu") -> tuple[Holder, ...]:
    """Who holds GPUs, lowest priority first: the ones that could give way."""
    found = [
        Holder(
            namespace=str((pod.get("metadata") or {}).get("namespace", "")),
            pod=str((pod.get("metadata") or {}).get("name", "")),
            gpus=pod_gpus(pod, resource),
            priority=int((pod.get("spec") or {}).get("priority") or 0),
            deployment=str(((pod.get("metadata") or {}).get("labels") or {}).get(
                "serving.triton-vllm.dev/llmdeployment", "")),
            node=str((pod.get("spec") or {}).get("nodeName") or ""),
        )
        for pod in pods
        if (pod.get("spec") or {}).get("nodeName") and not _finished(pod) and pod_gpus(pod, resource)
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda holder: (holder.priority, holder.namespace, holder.pod)))


def _finished(pod: Mapping[str, Any]) -> bool:
    return (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}


def pod_gpus(pod: Mapping[str, Any], resource: str = "nvidia.com/gpu") -> int:
    """GPUs a pod asks for: the sum over its containers, or its largest init container if that is more."""
    spec = pod.get("spec") or {}
    return max(
        sum(_container_gpus(container, resource) for container in spec.get("containers") or []),
        max((_container_gpus(container, resource) for container in spec.get("initContainers") or []), default=0),
    )


def _container_gpus(container: Mapping[str, Any], resource: str) -> int:
    resources = container.get("resources") or {}
    return _whole((resources.get("limits") or {}).get(resource) or (resources.get("requests") or {}).get(resource))


def gpu_of_dra_device(device: Mapping[str, Any]) -> GPUClass | None:
    """The class of one device of a DRA ResourceSlice, from its productName, cudaComputeCapability and memory."""
    basic = device.get("basic") or device
    attributes, capacity = basic.get("attributes") or {}, basic.get("capacity") or {}
    product = str((attributes.get("productName") or {}).get("string", ""))
    memory = _quantity((capacity.get("memory") or {}).get("value"))
    known = _known(product)
    if not memory and known is None:
        return None
    version = str((attributes.get("cudaComputeCapability") or {}).get("version", "")).split(".")
    capability = (_whole(version[0]), _whole(version[1])) if len(version) > 1 else None
    return GPUClass(
        product=product or "GPU",
        memory_bytes=int(memory * _table()["usable_share"]) if memory else (known.memory_bytes if known else 0),
        compute_capability=capability or (known.compute_capability if known else (8, 0)),
        count=1,
        free=1,
        per_node=1,
    )


def _quantity(value: object) -> int:
    match = re.fullmatch(r"(\d{1,15})(Ki|Mi|Gi|Ti)?", str(value or ""))
    if not match:
        return 0
    power = ("", "Ki", "Mi", "Gi", "Ti").index(match.group(2) or "")
    return int(match.group(1)) << (10 * power)
