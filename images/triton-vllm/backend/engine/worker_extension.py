"""What runs in each worker's process of the engine: vLLM's `worker_extension_cls`, and the patches of a worker.

vLLM imports this module in each worker's process and nowhere else, after its worker's class and before the model is
loaded: early enough to wrap the methods of a start.
"""

from __future__ import annotations

import logging
import sys
from types import ModuleType
from typing import Any

from backend.engine.memory import MeasuringWorker
from backend.patches import cuda_graph_sizes, flashinfer_selection, spin_condition, startup_plan, worker_phases

logger = logging.getLogger("triton_vllm")


class PhasedWorker(MeasuringWorker):
    """The methods that vLLM adds to its worker."""

    def triton_vllm_spent(self) -> dict[str, float]:
        """Return seconds by phase of this rank; `compile`: those of torch.compile, whatever phase they were in."""
        worker: Any = self
        return {**STOPWATCH.spent, "compile": float(worker.compilation_config.compilation_time)}


STOPWATCH = worker_phases.Stopwatch()


def _install() -> None:
    from vllm.distributed.device_communicators import shm_broadcast
    from vllm.v1.worker.worker_base import WorkerBase

    spin_condition.install(getattr(shm_broadcast, "SpinCondition", None))
    if gpu_worker := sys.modules.get("vllm.v1.worker.gpu_worker"):
        _install_on_gpu(gpu_worker)
    loaders = [module for name, module in list(sys.modules.items()) if name.startswith(worker_phases.LOADERS)]
    worker_phases.install(WorkerBase, loaders, STOPWATCH)


def _install_on_gpu(gpu_worker: ModuleType) -> None:
    """Install the patches that shorten a start on a GPU, where this version of vLLM has what they change."""
    flashinfer_selection.install()  # here too: this process may have imported vLLM by itself
    try:
        from vllm.config.compilation import CUDAGraphMode
        from vllm.v1.worker import startup_plan as plans
        from vllm.v1.worker.gpu.cudagraph_utils import CudaGraphManager
    except ImportError as error:
        logger.warning("the start is not shortened for this version of vLLM: %s", error)
        return
    startup_plan.install(gpu_worker, plans, MeasuringWorker.triton_vllm_measured)
    cuda_graph_sizes.install(CudaGraphManager, CUDAGraphMode.FULL, CUDAGraphMode.PIECEWISE)


if "vllm.v1.worker.worker_base" in sys.modules:
    _install()
