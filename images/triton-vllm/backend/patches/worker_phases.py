"""Time the phases of a start that only a worker sees: download, weights, KV cache, warm-up.

Changes: wraps `load_model`, `determine_available_memory`, `initialize_from_config` and `compile_or_warm_up_model` of
vLLM's worker classes, and `download_weights_from_hf` where a model loader imported it.

Why: the start-up report has the duration of each phase, and vLLM only logs them.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from backend.container import report
from backend.patches.upstream import Target, Upstream

# Methods of vLLM's workers -> the phase to which their time belongs.
PHASES = {
    "load_model": "WeightsLoaded",
    "determine_available_memory": "KVCache",
    "initialize_from_config": "KVCache",
    "compile_or_warm_up_model": "Warmup",
}
DOWNLOAD = "download_weights_from_hf"
LOADERS = "vllm.model_executor.model_loader."
# A file's time is that of the kernel's last tick.
TICK_SECONDS = 0.02
UPSTREAM = Upstream(
    (
        *(Target("vllm.v1.worker.gpu_worker", f"Worker.{method}", parameters=("self",)) for method in PHASES),
        Target("vllm.v1.worker.worker_base", "WorkerBase.__init__", source=("self.rank = rank",)),
        Target(f"{LOADERS}weight_utils", DOWNLOAD, parameters=("model_name_or_path",)),
        Target(f"{LOADERS}default_loader", DOWNLOAD),
    )
)


class Stopwatch:
    """Seconds that this process spent in each phase; a phase nested in another one counts once."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._running = False
        # Rank 0 reports for all ranks.
        self._reports = False

    def timed(self, method: Callable[..., Any], phase: str) -> Callable[..., Any]:
        """Return the method of a worker, timed. The end of `WeightsLoaded` is reported at once."""

        @functools.wraps(method)
        def timed_method(worker: Any, *args: Any, **kwargs: Any) -> Any:
            if self._running:
                return method(worker, *args, **kwargs)
            self._running, self._reports = True, worker.rank == 0
            begun, downloaded = time.monotonic(), self.spent.get("Download", 0.0)
            try:
                result = method(worker, *args, **kwargs)
            finally:
                self._running = False
            seconds = time.monotonic() - begun - (self.spent.get("Download", 0.0) - downloaded)
            self.spent[phase] = self.spent.get(phase, 0.0) + seconds
            if phase == "WeightsLoaded" and self._reports:
                report.phase(phase, seconds)
            return result

        return timed_method

    def timed_download(self, function: Callable[..., str]) -> Callable[..., str]:
        """Return vLLM's download of the weights, timed, and reported when bytes were downloaded."""

        @functools.wraps(function)
        def timed_function(*args: Any, **kwargs: Any) -> str:
            begun, since = time.monotonic(), time.time() - TICK_SECONDS
            folder = function(*args, **kwargs)
            seconds = time.monotonic() - begun
            self.spent["Download"] = self.spent.get("Download", 0.0) + seconds
            if self._reports and (size := _written_bytes(Path(folder), since)):
                report.phase("Download", seconds, bytes=size)
            return folder

        return timed_function


def _written_bytes(folder: Path, since: float) -> int:
    """Return the size of the files that were written since then."""
    stats = (path.stat() for path in folder.rglob("*") if path.is_file())
    return sum(file.st_size for file in stats if file.st_mtime >= since)


def install(base: type, loaders: Iterable[Any], stopwatch: Stopwatch) -> None:
    """Time the methods of all subclasses of `base`, and the download in the modules `loaders`."""
    for worker in _subclasses(base):
        for name, phase in PHASES.items():
            if name in vars(worker):
                setattr(worker, name, stopwatch.timed(vars(worker)[name], phase))
    for module in loaders:
        if hasattr(module, DOWNLOAD):
            setattr(module, DOWNLOAD, stopwatch.timed_download(getattr(module, DOWNLOAD)))


def _subclasses(base: type) -> Iterator[type]:
    children: list[type] = base.__subclasses__()
    for child in children:
        yield child
        yield from _subclasses(child)
