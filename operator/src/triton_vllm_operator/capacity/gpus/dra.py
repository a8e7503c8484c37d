"""GPUs that nodes publish in ResourceSlices (resource.k8s.io/v1, Dynamic Resource Allocation), as classes.

Attributes and capacities are those of NVIDIA's driver: https://github.com/NVIDIA/k8s-dra-driver-gpu.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from triton_vllm_operator.capacity.gpus.products import DEVICES, MIB, WHOLE_GPU, GPUClass, gpu_of_card

DRIVER = "gpu.nvidia.com"
_LARGEST = 4 * 2**40
_POWERS = {"": 0, "Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40}


@dataclass(frozen=True, slots=True)
class Published:
    """The devices of one ResourceSlice, each with its node and the extended resource that stands for it."""

    pool: str
    generation: int
    devices: tuple[tuple[str, str, GPUClass], ...]


def published(slice_: Mapping[str, Any]) -> Published | None:
    """What a ResourceSlice says of GPUs; None for one of another driver.

    Left out are devices of no node, with a taint that keeps pods off, and those of which neither the memory is told nor
    the product is in the table.
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
    return Published(str(pool.get("name", "")), int(pool.get("generation") or 0), tuple(found))


def with_devices(nodes: Iterable[Mapping[str, Any]], slices: Iterable[Published]) -> list[dict[str, Any]]:
    """Node objects with what they publish under `DEVICES`, a key of ours: extended resource -> class and count.

    Of each pool the newest generation counts. Of different GPUs on one node the smallest stands for all.
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
    """The class of one device, from its productName, cudaComputeCapability, driverVersion and memory."""
    kind, profile = _attribute(device, "type", "string"), _attribute(device, "profile", "string")
    product = _attribute(device, "productName", "string").replace(" ", "-")
    if kind not in ("", "gpu", "mig") or (kind == "mig" and not profile):
        return None
    memory = _bytes(((device.get("capacity") or {}).get("memory") or {}).get("value"))
    capability = _numbers(_attribute(device, "cudaComputeCapability", "version"))[:2]
    return gpu_of_card(
        f"{product}-MIG-{profile}" if kind == "mig" else product,
        memory // MIB if memory <= _LARGEST else 0,
        (capability[0], capability[1]) if len(capability) == 2 else None,
        _numbers(_attribute(device, "driverVersion", "version")),
        count=1,
    )


def _resource(device: Mapping[str, Any]) -> str:
    """What the device plugin would call it, and what an administrator lets a DeviceClass stand for."""
    profile = _attribute(device, "profile", "string")
    is_slice = _attribute(device, "type", "string") == "mig"
    return f"nvidia.com/mig-{profile.replace('+', '.')}" if is_slice else WHOLE_GPU


def _attribute(device: Mapping[str, Any], name: str, kind: str) -> str:
    """An attribute as text, "" where it is absent or of another kind. The driver's own need no domain."""
    attributes = device.get("attributes") or {}
    value = attributes.get(name) or attributes.get(f"{DRIVER}/{name}") or {}
    return str(value.get(kind) or "")


def _is_tainted(device: Mapping[str, Any]) -> bool:
    return any(taint.get("effect") in ("NoSchedule", "NoExecute") for taint in device.get("taints") or [])


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers of a semantic version; () for a text that is none."""
    found = re.fullmatch(r"(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?(?:[-+].*)?", version, re.ASCII)
    return tuple(int(part) for part in found.groups() if part is not None) if found else ()


def _bytes(quantity: object) -> int:
    found = re.fullmatch(r"(\d{1,15})(Ki|Mi|Gi|Ti)?", str(quantity or ""), re.ASCII)
    return int(found.group(1)) << _POWERS[found.group(2) or ""] if found else 0
