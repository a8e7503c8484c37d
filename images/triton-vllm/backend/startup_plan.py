"""The size of the KV cache that a start measured, kept for the next one: vLLM's startup plan, with what was measured.

With ``VLLM_ENABLE_STARTUP_PLAN`` vLLM keeps a size beside its compile cache, for the same settings on the same kind of
GPU, and the next start skips the trial capture of CUDA graphs (8 seconds for 8B on an H200). vLLM keeps less than it
measured: it takes off the graphs, whose estimate is off already, and 150 MiB. Here the measured size is kept, so that a
pod has the KV cache after a restart that it had before, and with it the terms of the budget, for the report.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

logger = logging.getLogger("triton_vllm")

VARIABLE = "VLLM_ENABLE_STARTUP_PLAN"
SAVE, APPLY = "maybe_save_startup_plan", "maybe_apply_startup_plan"
# Where a worker that took a plan has the terms that were measured with it.
TERMS = "triton_vllm_terms"
_ENDING = ".terms"


def keep_measured(workers: ModuleType, plans: ModuleType, measured: Callable[[Any], Mapping[str, int]]) -> None:
    """Have vLLM's GPU workers keep what they measured, and take it.

    ``workers``: the module of vLLM's GPU worker; ``plans``: that of its startup plans; ``measured``: the terms of a
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
        given = worker.cache_config.kv_cache_memory_bytes
        apply(worker)
        if given is None and worker.cache_config.kv_cache_memory_bytes is not None:
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
        logger.warning("the terms of the memory budget were not kept: %s", error)


def _read(path: Path) -> dict[str, int]:
    try:
        found: dict[str, int] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        logger.warning("the terms of the memory budget are not known: %s", error)
        return {}
    return found
