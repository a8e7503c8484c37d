"""Plan beside engine: true within 5 %, else the term that was off; with figures that real engines gave."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contract.report import HostMemory, MemoryTerms
from tests.builders.deployments import llm
from tests.builders.gpu_rows import STARTED, name
from tests.gpu.compare import Compared
from tests.inspect.files import shape as tiny
from triton_vllm_operator.api.conditions import Condition
from triton_vllm_operator.api.status import PlanStatus
from triton_vllm_operator.capacity import (
    EngineSettings,
    ModelShape,
    gpu_by_product,
    gpu_of_memory,
    plan,
    shape_from_config,
)
from triton_vllm_operator.observed import engine_report
from triton_vllm_operator.observed.engine_report import Report
from triton_vllm_operator.plan import accuracy

GIB = 2**30
LLM = llm(engine={"maxModelLen": 1024, "maxNumSeqs": 16, "maxNumBatchedTokens": 2048})


def started(one: Compared) -> Report:
    """What the serving image would say of a start that was measured."""
    row = one.row
    rank = min(row["ranks"], key=lambda rank: int(rank["available_kv_cache_memory_bytes"]))
    terms = {
        "requested": int(rank["requested_memory"]),
        "weights": rank["weights"],
        "non_torch": rank["non_torch_memory"],
        "activation": rank["peak_activation_memory"],
        "cuda_graph": rank["cudagraph_memory_estimate"],
        "kv_cache": rank["available_kv_cache_memory_bytes"],
    }
    figures = (row["max_model_len"], row["block_size"], row["blocks"], row["tokens"], row["concurrency"])
    return Report(row["vllm"], "cuda", *figures, MemoryTerms(**terms))


def judged(one: Compared, report: Report) -> Condition:
    return accuracy.condition(one.answer.to_status(), report, "p", LLM, tiny())


@pytest.mark.parametrize("one", STARTED, ids=name)
def test_every_start_that_was_measured_on_an_h100_was_as_planned(one: Compared) -> None:
    report = started(one)
    memory = report.memory
    spent = [memory.weights, memory.non_torch, memory.activation, memory.cuda_graph, memory.kv_cache]
    if "kv_cache_memory_bytes" not in one.row["settings"]:
        assert sum(part or 0 for part in spent) == pytest.approx(memory.requested or 0, rel=0.01)
    found = judged(one, report)
    assert (found.status, found.reason) == ("True", "AsPlanned"), found.message
    assert "more than" not in found.message.lower()


SERVED = [json.loads(line) for line in (Path(__file__).parent / "served_on_h200.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("row", SERVED, ids=lambda row: row["name"])
def test_what_the_serving_image_said_on_an_h200_was_as_planned(row: dict[str, Any]) -> None:
    """Its own answer to GET /report, of an engine of which only the length was given."""
    said = engine_report.read(json.dumps(row["report"]).encode())
    settings = EngineSettings(engine_version=said.engine_version, max_model_len=said.max_model_len)
    planned = plan(shape_from_config(row["shape"]), settings, gpu_by_product(row["gpu"]))
    found = accuracy.condition(planned.to_status(), said, "p", LLM, tiny())
    assert (found.status, found.reason) == ("True", "AsPlanned"), found.message
    spent, memory = planned.overhead, said.memory
    for got, interval in (
        (memory.activation, spent.activation),
        (memory.non_torch, spent.non_torch),
        (memory.cuda_graph, spent.cuda_graph),
        (memory.kv_cache, planned.kv_bytes),
    ):
        assert got is not None
        assert interval.low <= got <= interval.high


@pytest.mark.parametrize(
    ("host", "sentence"),
    [
        (HostMemory(), ""),
        (
            HostMemory(limit=18 * GIB, load_peak=4 * GIB, first_token=3 * GIB),
            " Its container used up to 4.00 GiB while the engine was loaded and 3.00 GiB after the first token, of "
            "a limit of 18.00 GiB.",
        ),
        (HostMemory(first_token=3 * GIB), " Its container used up to 3.00 GiB after the first token."),
    ],
)
def test_the_container_has_its_own_sentence(host: HostMemory, sentence: str) -> None:
    told = [accuracy.condition(None, replace(AS_IT_WAS, host=one), "p", LLM, tiny()) for one in (HostMemory(), host)]
    assert told[1].message == told[0].message + sentence
    assert told[1].reason == told[0].reason


LLAMA = next(one for one in STARTED if name(one) == "llama")
AS_IT_WAS = started(LLAMA)


def with_less(term: str, gib: float) -> Report:
    """The same engine, had one term taken so much more of the KV cache."""
    memory = AS_IT_WAS.memory
    taken = int(gib * GIB)
    kv_cache = (memory.kv_cache or 0) - taken
    share = kv_cache / (memory.kv_cache or 1)
    moved = {term: (getattr(memory, term) or 0) + (-taken if term == "requested" else taken), "kv_cache": kv_cache}
    tokens, blocks = int(AS_IT_WAS.tokens * share), int(AS_IT_WAS.blocks * share)
    concurrency = tokens / AS_IT_WAS.max_model_len
    return replace(AS_IT_WAS, tokens=tokens, blocks=blocks, concurrency=concurrency, memory=replace(memory, **moved))


@pytest.mark.parametrize(
    ("term", "reason", "words"),
    [
        ("requested", "GPUMemoryDiffers", "gpuMemoryUtilization of the GPU's memory 66.84 GiB instead of"),
        ("weights", "WeightsDiffer", "weights 21.00 GiB instead of"),
        ("non_torch", "NonTorchMemoryDiffers", "non-torch memory 6.22 GiB instead of"),
        ("activation", "ActivationMemoryDiffers", "peak activation 7.10 GiB instead of"),
        ("cuda_graph", "CUDAGraphMemoryDiffers", "CUDA graphs 6.00 GiB instead of"),
    ],
)
def test_the_term_that_took_more_is_named(term: str, reason: str, words: str) -> None:
    found = judged(LLAMA, with_less(term, 6.0))
    assert (found.type, found.status, found.reason) == ("PlanAccurate", "False", reason)
    assert words in found.message
    assert "Planned were " in found.message


def test_a_small_difference_is_none() -> None:
    assert judged(LLAMA, with_less("activation", 1.0)).status == "True"


@pytest.mark.parametrize(("percent", "status"), [(-5.1, "False"), (-4.9, "True"), (4.9, "True"), (5.1, "False")])
def test_a_plan_is_accurate_within_five_percent(percent: float, status: str) -> None:
    planned = LLAMA.answer.to_status()
    length = round(planned.max_model_len * (1 + percent / 100))
    assert judged(LLAMA, replace(AS_IT_WAS, max_model_len=length)).status == status


def test_another_layout_of_the_cache_is_named() -> None:
    half = replace(AS_IT_WAS, tokens=AS_IT_WAS.tokens // 2, concurrency=AS_IT_WAS.concurrency / 2, block_size=8)
    found = judged(LLAMA, half)
    assert (found.status, found.reason) == ("False", "KVCacheLayoutDiffers")
    assert "blocks of 8 tokens" in found.message


def test_another_length_is_named_and_another_version_told() -> None:
    found = judged(LLAMA, replace(AS_IT_WAS, max_model_len=1024, engine_version="0.99.0"))
    assert (found.status, found.reason) == ("False", "MaxModelLenDiffers")
    assert found.message.endswith("The plan is for vLLM 0.25.1, and 0.99.0 runs.")


def test_an_engine_that_measured_nothing_is_compared_by_its_blocks() -> None:
    less = replace(AS_IT_WAS, tokens=16, blocks=1, concurrency=0.0, memory=MemoryTerms())
    assert judged(LLAMA, less).reason == "KVCacheDiffers"
    assert judged(LLAMA, replace(AS_IT_WAS, memory=MemoryTerms())).status == "True"


# ----------------------------------------------------------------------------------------------- on a CPU


def on_cpu(kv_cache: int | None = 64 << 20, **changes: Any) -> Report:
    """What a CPU engine says that agrees with the planner, given so many bytes."""
    settings = EngineSettings(
        engine_version="0.32.0", max_model_len=1024, max_num_seqs=16, max_num_batched_tokens=2048, device="cpu",
        kv_cache_memory_bytes=kv_cache,
    )  # fmt: skip
    same = plan(tiny(), settings, gpu_of_memory(1.0))
    figures = (same.resolved.max_model_len, same.layout.block_size, same.kv.blocks, same.kv.tokens, same.kv.concurrency)
    return replace(Report("0.32.0+cpu", "cpu", *figures, MemoryTerms(kv_cache=kv_cache)), **changes)


def planned_for_a_gpu() -> PlanStatus:
    settings = EngineSettings(engine_version="0.32.0", max_model_len=1024, max_num_seqs=16, max_num_batched_tokens=2048)
    return plan(tiny(), settings, gpu_of_memory(80)).to_status()


def test_on_a_cpu_the_cache_that_it_has_is_planned_anew() -> None:
    report = on_cpu()
    assert report.block_size == 128
    assert report.tokens < planned_for_a_gpu().kv_cache_tokens / 100
    found = accuracy.condition(planned_for_a_gpu(), report, "p", LLM, tiny())
    assert (found.status, found.reason) == ("True", "AsPlanned"), found.message
    assert "It runs on a CPU: the plan is for its 0.06 GiB of KV cache" in found.message
    off = accuracy.condition(planned_for_a_gpu(), replace(report, tokens=report.tokens // 2), "p", LLM, tiny())
    assert (off.status, off.reason) == ("False", "KVCacheLayoutDiffers")


def test_what_cannot_be_compared_is_unknown_and_still_told() -> None:
    cases: list[tuple[PlanStatus | None, ModelShape | None]] = [(None, tiny()), (planned_for_a_gpu(), None)]
    for planned, shape in cases:
        found = accuracy.condition(planned, on_cpu(), "p", LLM, shape)
        assert (found.status, found.reason) == ("Unknown", "NotPlanned")
        assert "tokens of KV cache" in found.message
    sizeless = accuracy.condition(planned_for_a_gpu(), on_cpu(memory=MemoryTerms()), "p", LLM, tiny())
    assert (sizeless.status, sizeless.reason) == ("Unknown", "KVCacheSizeUnknown")
