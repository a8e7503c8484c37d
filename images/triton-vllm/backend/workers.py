"""What runs in each worker's process of the engine: it tells the phases of the start that only a worker sees, and has
the worker sleep when there is nothing to do.

vLLM imports this module in each worker's process and nowhere else, after its worker's class and before the model is
loaded: that is when the methods that take the time are wrapped.
"""

from __future__ import annotations

import functools
import inspect
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from backend import graphs, kernels, report, startup_plan
from backend.memory import MeasuringWorker

logger = logging.getLogger("triton_vllm")

# Methods of vLLM's workers -> the phase that their time belongs to.
METHODS = {
    "load_model": "WeightsLoaded",
    "determine_available_memory": "KVCache",
    "initialize_from_config": "KVCache",
    "compile_or_warm_up_model": "Warmup",
}
FETCH = "download_weights_from_hf"
LOADERS = "vllm.model_executor.model_loader."
# After a message a worker looks for the next one without a pause, so that steps of the model follow each other at once;
# then it sleeps until it is notified. vLLM's own second is a second of a core after every request that comes alone.
SPIN_SECONDS = 0.05
# A file's time is that of the kernel's last tick.
TICK_SECONDS = 0.02


class Stopwatch:
    """Seconds that this process spent in each phase; what is nested in another phase counts once."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._running = False
        # Rank 0 speaks for all.
        self._speaks = False

    def time(self, method: Callable[..., Any], phase: str) -> Callable[..., Any]:
        """The method of a worker, timed. The end of ``WeightsLoaded`` is reported at once."""

        @functools.wraps(method)
        def timed(worker: Any, *args: Any, **kwargs: Any) -> Any:
            if self._running:
                return method(worker, *args, **kwargs)
            self._running, self._speaks = True, worker.rank == 0
            begun, fetched = time.monotonic(), self.spent.get("Download", 0.0)
            try:
                found = method(worker, *args, **kwargs)
            finally:
                self._running = False
            seconds = time.monotonic() - begun - (self.spent.get("Download", 0.0) - fetched)
            self.spent[phase] = self.spent.get(phase, 0.0) + seconds
            if phase == "WeightsLoaded" and self._speaks:
                report.phase(phase, seconds)
            return found

        return timed

    def fetch(self, function: Callable[..., str]) -> Callable[..., str]:
        """vLLM's download of the weights, which returns their folder, timed and reported when anything was fetched."""

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> str:
            begun, since = time.monotonic(), time.time() - TICK_SECONDS
            folder = function(*args, **kwargs)
            seconds = time.monotonic() - begun
            self.spent["Download"] = self.spent.get("Download", 0.0) + seconds
            if self._speaks and (size := _written(Path(folder), since)):
                report.phase("Download", seconds, bytes=size)
            return folder

        return timed


def _written(folder: Path, since: float) -> int:
    """Bytes of the files of a folder that are no older."""
    found = (path.stat() for path in folder.rglob("*") if path.is_file())
    return sum(file.st_size for file in found if file.st_mtime >= since)


def wrap(base: type, loaders: Iterable[Any], watch: Stopwatch) -> None:
    """Time the methods of all classes below ``base``, and the download where modules of loaders have it."""
    for worker in _below(base):
        for name, phase in METHODS.items():
            if name in vars(worker):
                setattr(worker, name, watch.time(vars(worker)[name], phase))
    for module in loaders:
        if hasattr(module, FETCH):
            setattr(module, FETCH, watch.fetch(getattr(module, FETCH)))


def _below(base: type) -> Iterator[type]:
    children: list[type] = base.__subclasses__()
    for child in children:
        yield child
        yield from _below(child)


def sleep_soon(condition: Any) -> None:
    """Have readers of vLLM's message queues wait for notifications ``SPIN_SECONDS`` after their last message.

    ``condition``: the class that waits; None, or one that takes no such time, is left as it is.
    """
    if condition is not None and "busy_loop_s" in inspect.signature(condition.__init__).parameters:
        condition.__init__ = functools.partialmethod(condition.__init__, busy_loop_s=SPIN_SECONDS)


class PhasedWorker(MeasuringWorker):
    """What vLLM's worker gets besides (``worker_extension_cls``)."""

    def triton_vllm_spent(self) -> dict[str, float]:
        """Phase -> seconds of this rank, and in ``compile`` those of torch.compile, whichever phase they fell into."""
        worker: Any = self
        return {**WATCH.spent, "compile": float(worker.compilation_config.compilation_time)}


WATCH = Stopwatch()


def _install() -> None:
    from vllm.distributed.device_communicators import shm_broadcast
    from vllm.v1.worker.worker_base import WorkerBase

    sleep_soon(getattr(shm_broadcast, "SpinCondition", None))
    if gpu_worker := sys.modules.get("vllm.v1.worker.gpu_worker"):
        _start_faster(gpu_worker)
    loaders = [module for name, module in list(sys.modules.items()) if name.startswith(LOADERS)]
    wrap(WorkerBase, loaders, WATCH)


def _start_faster(gpu_worker: ModuleType) -> None:
    """What a start on a GPU does not do again, or not at all, where this version of vLLM can."""
    kernels.prefer_own()  # here too: this may be a process that has imported vLLM by itself
    try:
        from vllm.config.compilation import CUDAGraphMode
        from vllm.v1.worker import startup_plan as plans
        from vllm.v1.worker.gpu.cudagraph_utils import CudaGraphManager
    except ImportError as error:
        logger.warning("this vLLM starts as it does by itself: %s", error)
        return
    startup_plan.keep_measured(gpu_worker, plans, MeasuringWorker.triton_vllm_measured)
    graphs.space_pieces(CudaGraphManager, CUDAGraphMode.FULL, CUDAGraphMode.PIECEWISE)


if "vllm.v1.worker.worker_base" in sys.modules:
    _install()
