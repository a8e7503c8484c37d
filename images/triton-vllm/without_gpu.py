"""Lets code that asks for a GPU be imported, and compile for one, where there is none: the image is built on CPUs.

Much of vLLM decides by the GPU which modules it imports, and its libraries link to the driver. `pretend` loads the
stand-in for the driver that `lay-out-toolkit.sh` made and has torch, Triton and vLLM see one GPU of a compute
capability. Nothing can run on it.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

HOPPER = (9, 0)
_SHARED_MEMORY = 232448


def driver_stub() -> Path:
    """The stand-in for libcuda.so.1 in the toolkit."""
    return Path(os.environ["CUDA_HOME"]) / "lib64/stubs/libcuda.so"


def pretend(capability: tuple[int, int] = HOPPER) -> None:
    """Have this process see a GPU of `capability`. Call it before vLLM is imported."""
    # Libraries that are loaded later find it by its name, libcuda.so.1.
    ctypes.CDLL(str(driver_stub()), mode=ctypes.RTLD_GLOBAL)
    _torch(capability)
    _triton(capability)
    import vllm.platforms
    from vllm.platforms.cuda import NonNvmlCudaPlatform

    vllm.platforms._current_platform = NonNvmlCudaPlatform()


def _torch(capability: tuple[int, int]) -> None:
    import torch

    major, minor = capability
    properties = SimpleNamespace(
        name="no GPU",
        major=major,
        minor=minor,
        multi_processor_count=132,
        total_memory=80 << 30,
        warp_size=32,
        regs_per_multiprocessor=65536,
        shared_memory_per_block=49152,
        shared_memory_per_block_optin=_SHARED_MEMORY,
        shared_memory_per_multiprocessor=_SHARED_MEMORY + 1024,
        max_threads_per_multi_processor=2048,
        L2_cache_size=50 << 20,
        is_integrated=0,
    )
    answers: dict[str, Any] = {
        "is_available": True,
        "device_count": 1,
        "current_device": 0,
        "get_device_capability": capability,
        "get_device_properties": properties,
        "get_device_name": properties.name,
    }
    for name, answer in answers.items():
        setattr(torch.cuda, name, lambda *_, answer=answer, **__: answer)


def _triton(capability: tuple[int, int]) -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.backends.nvidia.driver import CudaDriver

    properties = {
        "max_shared_mem": _SHARED_MEMORY,
        "max_num_regs": 65536,
        "multiprocessor_count": 132,
        "warpSize": 32,
        "sm_clock_rate": 1,
        "mem_clock_rate": 1,
        "mem_bus_width": 1,
    }

    class Driver(CudaDriver):  # type: ignore[misc]
        def __init__(self) -> None:  # the real one compiles a library and asks the driver with it
            self.utils = SimpleNamespace(get_device_properties=lambda _: properties)
            self.get_current_device = lambda: 0
            self.get_current_stream = lambda *_: 0
            self.get_device_capability = lambda *_: capability

        def get_current_target(self) -> Any:
            return GPUTarget("cuda", capability[0] * 10 + capability[1], 32)

    triton.runtime.driver.set_active(Driver())
