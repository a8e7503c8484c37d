"""What the workers say of their memory: the terms add up, whichever version of the engine measured them."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from backend.engine.memory import EXTENSION, fullest, measured, measured_terms, phase_seconds
from backend.engine.worker_extension import PhasedWorker

# Llama 3.1 8B on an H100 with vLLM 0.25.1, V1 runner: rows of operator/tests/capacity/gpu_rows.jsonl.
REQUESTED, WEIGHTS, OTHER = 78216094024, 16110919680, 249561088
ACTIVATION, GRAPHS, AVAILABLE = 2027034624, 532676608, 59295902024


def worker(device: str = "cuda", given: int | None = None, **fields: Any) -> Any:
    return SimpleNamespace(
        cache_config=SimpleNamespace(kv_cache_memory_bytes=given),
        vllm_config=SimpleNamespace(device_config=SimpleNamespace(device_type=device)),
        model_runner=SimpleNamespace(model_memory_usage=WEIGHTS),
        **fields,
    )


MEASURED = {
    "requested_memory": float(REQUESTED),
    "available_kv_cache_memory_bytes": AVAILABLE,
    "cudagraph_memory_estimate": GRAPHS,
}
TERMS = {
    "requestedBytes": REQUESTED,
    "weightsBytes": WEIGHTS,
    "nonTorchBytes": OTHER,
    "activationBytes": ACTIVATION,
    "cudaGraphBytes": GRAPHS,
    "kvCacheBytes": AVAILABLE,
}


def test_both_ways_in_which_engines_keep_the_terms_mean_the_same() -> None:
    older = worker(**MEASURED, non_torch_memory=OTHER, peak_activation_memory=ACTIVATION)
    newer = worker(**MEASURED, total_consumed=WEIGHTS + OTHER, peak_activation_memory=ACTIVATION + GRAPHS)
    assert measured(older, graphs_count=True) == measured(newer, graphs_count=True) == TERMS


def test_graphs_that_are_not_taken_from_the_budget_are_no_term() -> None:
    found = measured(
        worker(**{**MEASURED, "available_kv_cache_memory_bytes": AVAILABLE + GRAPHS}, non_torch_memory=OTHER),
        graphs_count=False,
    )
    assert found == {**TERMS, "cudaGraphBytes": 0, "kvCacheBytes": AVAILABLE + GRAPHS}


def test_with_a_given_cache_and_on_a_cpu_only_what_is_known_is_said() -> None:
    assert measured(worker(given=5), graphs_count=True) == {"weightsBytes": WEIGHTS, "kvCacheBytes": 5}
    assert measured(worker("cpu", given=5), graphs_count=True) == {"kvCacheBytes": 5}
    assert measured(worker("cpu"), graphs_count=True) == {}


def test_the_rank_with_the_least_cache_speaks_for_all() -> None:
    assert fullest([TERMS, {**TERMS, "kvCacheBytes": 7}]) == {**TERMS, "kvCacheBytes": 7}
    assert fullest([]) == {}


class Engine:
    """Answers the call of a method of its workers, or does not."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked = ""

    async def collective_rpc(self, method: str) -> Any:
        self.asked = method
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_the_method_is_asked_by_its_name_and_a_refusal_fails_no_start() -> None:
    engine = Engine([TERMS])
    assert asyncio.run(measured_terms(engine)) == TERMS
    assert callable(getattr(PhasedWorker, engine.asked))
    assert f"{PhasedWorker.__module__}.{PhasedWorker.__name__}" == EXTENSION
    assert asyncio.run(measured_terms(Engine(AttributeError("no such method")))) == {}


def test_the_slowest_rank_speaks_for_a_phase() -> None:
    engine = Engine([{"KVCache": 2.0, "Warmup": 1.0}, {"KVCache": 1.0, "Warmup": 3.0}])
    assert asyncio.run(phase_seconds(engine)) == {"KVCache": 2.0, "Warmup": 3.0}
    assert callable(getattr(PhasedWorker, engine.asked))
    assert asyncio.run(phase_seconds(Engine(AttributeError("no such method")))) == {}


def test_a_worker_that_took_the_size_of_an_earlier_start_tells_the_terms_of_that_start() -> None:
    took = worker(given=AVAILABLE, triton_vllm_terms=TERMS)
    assert measured(took, graphs_count=True) == TERMS
    assert measured(took, graphs_count=True) is not TERMS
    unknown = worker(given=AVAILABLE, triton_vllm_terms={})
    assert measured(unknown, graphs_count=True) == {"weightsBytes": WEIGHTS, "kvCacheBytes": AVAILABLE}
