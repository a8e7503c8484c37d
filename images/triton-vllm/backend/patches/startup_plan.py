"""Keep the measured size of the KV cache for the next start, with the terms of the memory budget.

Changes: `maybe_save_startup_plan` and `maybe_apply_startup_plan` as vLLM's GPU worker imports them.

Why: with `VLLM_ENABLE_STARTUP_PLAN` vLLM keeps a size beside its compile cache, for the same settings on the same kind
of GPU, and the next start skips the trial capture of CUDA graphs (8 seconds for 8B on an H200). vLLM keeps less than it
measured: it subtracts the graphs, whose estimate is already subtracted, and 150 MiB. Here the measured size is kept, so
that a pod has the same KV cache after a restart, and with it the terms of the budget, for the report.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from backend.patches.upstream import Target, Upstream

logger = logging.getLogger("triton_vllm")

SAVE, APPLY = "maybe_save_startup_plan", "maybe_apply_startup_plan"
# The attribute of a worker that applied a plan, with the terms that were measured for it.
TERMS = "triton_vllm_terms"
_ENDING = ".terms"
PLANS, WORKER = "vllm.v1.worker.startup_plan", "vllm.v1.worker.gpu_worker"
UPSTREAM = Upstream(
    (
        Target(PLANS, SAVE, parameters=("worker",)),
        Target(PLANS, APPLY, parameters=("worker",)),
        Target(PLANS, "compute_plan_fingerprint", parameters=("vllm_config", "rank", "world_size")),
        Target(PLANS, "_plan_path", parameters=("fingerprint",)),
        Target(WORKER, SAVE),
        Target(
            WORKER,
            "Worker.compile_or_warm_up_model",
            source=(f"{SAVE}(self, kv_cache_memory_bytes_to_requested_limit)",),
        ),
        Target(WORKER, "Worker.determine_available_memory", source=(f"{APPLY}(self)",)),
    )
)


def install(workers: ModuleType, plans: ModuleType, measured: Callable[[Any], Mapping[str, int]]) -> None:
    """Have vLLM's GPU workers save what they measured, and apply it.

    `workers`: the module of vLLM's GPU worker; `plans`: that of its startup plans; `measured`: returns the terms of a
    worker's budget.
    """
    save, apply = getattr(workers, SAVE), getattr(workers, APPLY)

    @functools.wraps(save)
    def save_measured(worker: Any, _: int) -> None:
        save(worker, worker.available_kv_cache_memory_bytes)
        plan = _plan_file(plans, worker)
        if plan.exists():
            _write(plan.with_suffix(_ENDING), measured(worker))

    @functools.wraps(apply)
    def apply_measured(worker: Any) -> None:
        configured = worker.cache_config.kv_cache_memory_bytes
        apply(worker)
        if configured is None and worker.cache_config.kv_cache_memory_bytes is not None:
            setattr(worker, TERMS, _read(_plan_file(plans, worker).with_suffix(_ENDING)))

    setattr(workers, SAVE, save_measured)
    setattr(workers, APPLY, apply_measured)


def _plan_file(plans: ModuleType, worker: Any) -> Path:
    fingerprint = plans.compute_plan_fingerprint(worker.vllm_config, worker.rank, worker.parallel_config.world_size)
    return Path(plans._plan_path(fingerprint))


def _write(path: Path, terms: Mapping[str, int]) -> None:
    try:
        path.write_text(json.dumps(terms))
    except OSError as error:
        logger.warning("failed to save the terms of the memory budget: %s", error)


def _read(path: Path) -> dict[str, int]:
    try:
        terms: dict[str, int] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        logger.warning("failed to read the terms of the memory budget: %s", error)
        return {}
    return terms
