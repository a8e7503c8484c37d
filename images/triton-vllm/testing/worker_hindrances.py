"""What can happen to a worker of the engine, made to happen by a file: `worker_extension_cls` of the fault tests.

The file that `HINDRANCE` names holds `{"what": NAME, "rank": RANK}`; each worker looks for it before each step.
"""

from __future__ import annotations

import functools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vllm.v1.worker.worker_base import WorkerBase

from backend.engine.worker_extension import PhasedWorker

VARIABLE = "HINDRANCE"
STEP_SECONDS = 0.025
# A kernel that would run for longer than anybody waits; it ends by itself in the end, whatever becomes of its process.
KERNEL_SECONDS = 300
# No GPU runs faster.
CYCLES_PER_SECOND = 2_000_000_000
NOWHERE = 0x7000_0000_0000


class HinderedWorker(PhasedWorker):
    """The methods that vLLM adds to its worker: only those of the image's own extension."""


def hang(_worker: Any) -> None:
    """This rank does not come to the next all-reduce, for which the others wait."""
    time.sleep(KERNEL_SECONDS)


def slow(_worker: Any) -> None:
    """Each step takes at least `STEP_SECONDS`."""
    time.sleep(STEP_SECONDS)


def fail(_worker: Any) -> None:
    """The worker's own code raises."""
    raise RuntimeError("raised by the test")


def endless(worker: Any) -> None:
    """A kernel that does not end."""
    import torch

    with torch.cuda.device(worker.device):
        torch.cuda._sleep(KERNEL_SECONDS * CYCLES_PER_SECOND)


def exhaust(worker: Any) -> None:
    """All memory of the GPU is taken, also what the allocator has kept: the next allocation fails."""
    import torch

    kept, size = [], 1 << 30
    while size >= 512:
        try:
            kept.append(torch.empty(size, dtype=torch.uint8, device=worker.device))
        except torch.OutOfMemoryError:
            size //= 2
    _KEPT.extend(kept)


def touch_nowhere(worker: Any) -> None:
    """A kernel writes to an invalid address: the driver ends the context, as after many faults of a GPU."""
    import torch

    size = 1 << 20
    storage = torch._C._construct_storage_from_data_pointer(NOWHERE, worker.device, size)
    torch.empty(0, dtype=torch.uint8, device=worker.device).set_(storage, 0, (size,)).fill_(1)


def violate(worker: Any) -> None:
    """A kernel finds an index that is out of bounds."""
    import torch

    torch.zeros(4, device=worker.device)[torch.tensor([1 << 20], device=worker.device)].sum()


_KEPT: list[Any] = []
HINDRANCES: dict[str, Callable[[Any], None]] = {
    "hang": hang,
    "slow": slow,
    "fail": fail,
    "endless kernel": endless,
    "out of memory": exhaust,
    "illegal address": touch_nowhere,
    "device assert": violate,
}


def hindered(step: Callable[..., Any], file: Path) -> Callable[..., Any]:
    """A worker's step that looks for the file first."""

    @functools.wraps(step)
    def looking(worker: Any, *args: Any, **kwargs: Any) -> Any:
        if file.exists():
            wanted = json.loads(file.read_text())
            if wanted["rank"] == worker.rank:
                HINDRANCES[wanted["what"]](worker)
        return step(worker, *args, **kwargs)

    return looking


def _install() -> None:
    file, classes = Path(os.environ[VARIABLE]), list(WorkerBase.__subclasses__())
    while classes:
        worker = classes.pop()
        classes += worker.__subclasses__()
        if "execute_model" in vars(worker):
            worker.execute_model = hindered(worker.execute_model, file)


_install()
