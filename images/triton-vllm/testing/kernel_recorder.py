"""A worker of the engine that writes down which Triton kernels are compiled, and how: `gpu.kernels` reads it.

vLLM imports this module in each worker's process (`worker_extension_cls`).
"""

from __future__ import annotations

import json
import os
from typing import Any

from backend.engine.worker_extension import PhasedWorker

# Names the file.
VARIABLE = "RECORDED_KERNELS"


class RecordingWorker(PhasedWorker):
    """vLLM's worker with our phases; the module does the rest."""


def record(*, fn: Any, compile: Any, **_: Any) -> None:
    """Triton's hook after it has compiled a kernel, or found it in its cache."""
    row = {"module": fn.module, "name": fn.name, "specialization": compile["specialization_data"]}
    with open(os.environ[VARIABLE], "a") as file:
        file.write(json.dumps(row) + "\n")


if VARIABLE in os.environ:
    from triton import knobs

    knobs.runtime.jit_post_compile_hook = record
