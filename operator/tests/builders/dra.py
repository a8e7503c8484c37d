"""ResourceSlices and devices as a DRA driver publishes them."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]


def device(name: str = "gpu-0", memory: str = "46068Mi", **attributes: Any) -> Object:
    """A device as NVIDIA's driver publishes it."""
    told = {
        "type": {"string": "gpu"}, "productName": {"string": "NVIDIA L40S"}, "driverVersion": {"version": "580.95.5"},
        "cudaComputeCapability": {"version": "8.9.0"}, "uuid": {"string": f"GPU-{name}"}, **attributes,
    }  # fmt: skip
    kept = {key: value for key, value in told.items() if value is not None}
    return {"name": name, "attributes": kept, "capacity": {"memory": {"value": memory}} if memory else {}}


def slice_(*devices: Object, node: str = "a", generation: int = 1, pool: str = "", **spec: Any) -> Object:
    found = {"name": pool or node, "generation": generation, "resourceSliceCount": 1}
    whole = {"driver": "gpu.nvidia.com", "nodeName": node, "pool": found, "devices": list(devices), **spec}
    return {"metadata": {"name": f"{node}-x"}, "spec": whole}
