"""What each worker of the engine measured while it started: the terms of its memory budget, in bytes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from backend.patches import startup_plan
from contract.report import MEMORY_KEYS, MemoryTerms

logger = logging.getLogger("triton_vllm")

# vLLM adds this class to its own worker, in each worker's process.
EXTENSION = "backend.engine.worker_extension.PhasedWorker"
SECONDS = 20.0


class MeasuringWorker:
    """The methods that vLLM adds to its worker (`worker_extension_cls`)."""

    def triton_vllm_measured(self) -> dict[str, int]:
        """The terms of this rank; those that the engine did not measure are absent."""
        from vllm import envs

        return measured(self, graphs_count=bool(getattr(envs, "VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS", False)))


def measured(worker: Any, *, graphs_count: bool) -> dict[str, int]:
    """The terms of a worker's budget.

    `requestedBytes - weightsBytes - nonTorchBytes - activationBytes - cudaGraphBytes = kvCacheBytes`. With a KV cache
    of a given size the engine measures no more than the weights, and on a CPU not even these. With the size that an
    earlier start measured the terms are those of that start.

    `graphs_count`: whether vLLM takes its estimate of the CUDA graphs from the budget.
    """
    if kept := getattr(worker, startup_plan.TERMS, None):
        return dict(kept)
    given = worker.cache_config.kv_cache_memory_bytes
    if worker.vllm_config.device_config.device_type == "cpu":
        return _terms(kv_cache=given)
    weights = worker.model_runner.model_memory_usage
    available = getattr(worker, "available_kv_cache_memory_bytes", None)
    if given is not None or available is None:
        return _terms(weights=weights, kv_cache=given)
    requested = worker.requested_memory
    graphs = worker.cudagraph_memory_estimate if graphs_count else 0
    # Up to vLLM 0.25 the worker knows the term; later only what it consumed together with the weights.
    other = getattr(worker, "non_torch_memory", None)
    other = worker.total_consumed - weights if other is None else other
    return _terms(
        requested=requested,
        weights=weights,
        non_torch=other,
        activation=requested - available - weights - other - graphs,
        cuda_graph=graphs,
        kv_cache=available,
    )


def _terms(**terms: float | None) -> dict[str, int]:
    # Memory that another process frees while the engine measures can make a term negative.
    return MemoryTerms(**{name: max(int(value), 0) for name, value in terms.items() if value is not None}).to_json()


def fullest(ranks: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """The terms of the rank with the least KV cache, which all others follow; {} without ranks."""
    if not ranks:
        return {}
    least = min(ranks, key=lambda rank: (rank.get(MEMORY_KEYS["kv_cache"], 0), -rank.get(MEMORY_KEYS["weights"], 0)))
    return dict(least)


async def measured_terms(engine: Any) -> dict[str, int]:
    """The terms of the fullest rank of a running engine; {} when its workers do not say."""
    return fullest(await call_workers(engine, MeasuringWorker.triton_vllm_measured.__name__))


async def phase_seconds(engine: Any) -> dict[str, float]:
    """Seconds of the start by phase, of the slowest rank in each; {} when the workers do not say."""
    ranks = await call_workers(engine, "triton_vllm_spent")
    return {name: max(rank.get(name, 0.0) for rank in ranks) for rank in ranks for name in rank}


async def call_workers(engine: Any, method: str) -> list[dict[str, Any]]:
    """Call a method of each worker and return their results; [] on failure, which does not fail the start."""
    try:
        async with asyncio.timeout(SECONDS):
            answers: list[dict[str, Any]] = await engine.collective_rpc(method)
            return answers
    except Exception as error:  # noqa: BLE001 - it serves all the same
        logger.warning("failed to read what the engine's workers measured: %s: %s", type(error).__name__, error)
        return []
