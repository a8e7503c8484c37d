"""GPU classes from ResourceSlices (resource.k8s.io/v1, Dynamic Resource Allocation), in which nodes publish devices.

Attributes and capacities are those of NVIDIA's driver: https://github.com/NVIDIA/k8s-dra-driver-gpu.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from triton_vllm_operator.api import quantity
from triton_vllm_operator.capacity.gpus import mig
from triton_vllm_operator.capacity.gpus.nodes import DEVICES, WHOLE_GPU
from triton_vllm_operator.capacity.gpus.products import MIB, GPUClass, gpu_of_card

DRIVER = "gpu.nvidia.com"
"""NVIDIA's DRA driver, as ResourceSlices name it."""
_LARGEST_BYTES = 4 * 2**40
"""Memory beyond this is not that of a card."""


@dataclass(frozen=True, slots=True)
class SliceDevices:
    """The GPUs of one ResourceSlice.

    Attributes:
        pool: name of the slice's pool.
        generation: of the pool; slices of an older one are out of date.
        devices: node, extended resource that stands for the device, and class of each GPU.
    """

    pool: str
    generation: int
    devices: tuple[tuple[str, str, GPUClass], ...]


def read_slice(slice_: Mapping[str, Any]) -> SliceDevices | None:
    """Return the GPUs of a ResourceSlice; None for a slice of another driver.

    Left out are devices without a node, those with a taint that keeps pods off, and those whose memory is neither
    published nor in the table.
    """
    spec = slice_.get("spec") or {}
    if spec.get("driver") != DRIVER:
        return None
    pool = spec.get("pool") or {}
    found = []
    for device in spec.get("devices") or []:
        node = device.get("nodeName") or spec.get("nodeName")
        gpu = gpu_of_dra_device(device)
        if node and gpu is not None and not _is_tainted(device):
            found.append((str(node), _resource(device), gpu))
    return SliceDevices(str(pool.get("name", "")), int(pool.get("generation") or 0), tuple(found))


def with_devices(nodes: Iterable[Mapping[str, Any]], slices: Iterable[SliceDevices]) -> list[dict[str, Any]]:
    """Return copies of Node objects with the GPUs that they publish, under the key `DEVICES`.

    Of each pool the newest generation counts. Of different GPUs on one node the one with the least memory stands for
    all.
    """
    known = list(slices)
    newest: dict[str, int] = {}
    for one in known:
        newest[one.pool] = max(one.generation, newest.get(one.pool, 0))
    on: dict[str, dict[str, GPUClass]] = {}
    for one in known:
        for node, resource, gpu in one.devices if one.generation == newest[one.pool] else ():
            there = on.setdefault(node, {})
            there[resource] = _both(there[resource], gpu) if resource in there else gpu
    return [_with(node, on.get(str((node.get("metadata") or {}).get("name", "")))) for node in nodes]


def _with(node: Mapping[str, Any], devices: Mapping[str, GPUClass] | None) -> dict[str, Any]:
    return {**node, DEVICES: devices} if devices else dict(node)


def _both(one: GPUClass, other: GPUClass) -> GPUClass:
    smaller = min(one, other, key=lambda gpu: gpu.memory_bytes)
    count = one.count + other.count
    driver = min((gpu.driver for gpu in (one, other) if gpu.driver), default=())
    return replace(smaller, count=count, per_node=count, driver=driver)


def gpu_of_dra_device(device: Mapping[str, Any]) -> GPUClass | None:
    """Return the class of a device, from its productName, cudaComputeCapability, driverVersion and memory.

    None for a device that is neither a GPU nor a MIG slice, and for one of unknown memory.
    """
    kind, profile = _attribute(device, "type", "string"), _attribute(device, "profile", "string")
    product = _attribute(device, "productName", "string").replace(" ", "-")
    if kind not in ("", "gpu", "mig") or (kind == "mig" and not profile):
        return None
    memory = quantity.whole_number(((device.get("capacity") or {}).get("memory") or {}).get("value"))
    capability = _numbers(_attribute(device, "cudaComputeCapability", "version"))[:2]
    return gpu_of_card(
        mig.slice_product(product, profile) if kind == "mig" else product,
        memory // MIB if memory <= _LARGEST_BYTES else 0,
        (capability[0], capability[1]) if len(capability) == 2 else None,
        _numbers(_attribute(device, "driverVersion", "version")),
        count=1,
    )


def _resource(device: Mapping[str, Any]) -> str:
    """Return the resource that the device plugin would report, and that a DeviceClass is expected to stand for."""
    profile = _attribute(device, "profile", "string")
    is_slice = _attribute(device, "type", "string") == "mig"
    return mig.slice_resource(profile) if is_slice else WHOLE_GPU


def _attribute(device: Mapping[str, Any], name: str, kind: str) -> str:
    """Return an attribute as text; "" where it is absent or of another kind. The driver's own need no domain."""
    attributes = device.get("attributes") or {}
    value = attributes.get(name) or attributes.get(f"{DRIVER}/{name}") or {}
    return str(value.get(kind) or "")


def _is_tainted(device: Mapping[str, Any]) -> bool:
    return any(taint.get("effect") in ("NoSchedule", "NoExecute") for taint in device.get("taints") or [])


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a semantic version; () for text that is not one."""
    found = re.fullmatch(r"(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?(?:[-+].*)?", version, re.ASCII)
    return tuple(int(part) for part in found.groups() if part is not None) if found else ()
