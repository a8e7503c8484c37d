"""What was planned beside what the engine got: the condition `PlanAccurate`, with the term that was off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from contract.report import MemoryTerms
from triton_vllm_operator.api.conditions import Condition, ConditionType, Status
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.capacity import EngineSettings, ModelShape, ShapeError, gpu_of_memory, plan
from triton_vllm_operator.observed.engine_report import Report
from triton_vllm_operator.plan.engine_settings import engine_settings

#: A difference up to this share of what was planned is no difference.
TOLERANCE: Final = 0.05
_GIB = 2**30
#: Name of the figure in status.plan.perGPU: (reason, how it is called).
_TERMS: Final[Mapping[str, tuple[Reason, str]]] = {
    "requestedBytes": (Reason.GPU_MEMORY_DIFFERS, "gpuMemoryUtilization of the GPU's memory"),
    "weightsBytes": (Reason.WEIGHTS_DIFFER, "weights"),
    "nonTorchBytes": (Reason.NON_TORCH_MEMORY_DIFFERS, "non-torch memory"),
    "activationBytes": (Reason.ACTIVATION_MEMORY_DIFFERS, "peak activation"),
    "cudaGraphBytes": (Reason.CUDA_GRAPH_MEMORY_DIFFERS, "CUDA graphs"),
}

Plan = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Difference:
    """Something that was off: why, in one CamelCase word and in numbers."""

    reason: Reason
    text: str


def unknown(reason: Reason, message: str) -> Condition:
    """The condition while there is nothing to compare."""
    return _condition("Unknown", reason, message)


def condition(
    planned: Plan | None, report: Report, pod: str, llm: LLMDeployment, shape: ModelShape | None
) -> Condition:
    """Compare a plan with the engine of one pod.

    Args:
        planned: status.plan, made for GPUs; None where there is none.
        llm: with what was chosen.
        shape: of the model; None where it was not read.
    """
    if planned is None or shape is None:
        return unknown(Reason.NOT_PLANNED, f"There is no plan. {_got(report, pod)}")
    if report.device == "cuda":
        return _judged(planned, report, pod, "")
    if report.memory.kv_cache is None:
        why = "The engine runs on a CPU and does not say how many bytes its KV cache has."
        return unknown(Reason.KV_CACHE_SIZE_UNKNOWN, f"{why} {_got(report, pod)}")
    try:
        settings = engine_settings(llm.spec.engine, str(planned.get("engineVersion", "")))
        on_cpu = _plan_on_cpu(shape, settings, report.memory.kv_cache)
    except ShapeError as error:
        return unknown(error.reason, f"{error}. {_got(report, pod)}")
    size = f"{report.memory.kv_cache / _GIB:.2f} GiB"
    note = f" It runs on a CPU, with {size} of KV cache: that much was planned anew, and no memory of GPUs is compared."
    return _judged(on_cpu, report, pod, note)


def _plan_on_cpu(shape: ModelShape, settings: EngineSettings, kv_cache_bytes: int) -> Plan:
    """The serving image gives an engine on a CPU a KV cache by the container's memory, whatever a GPU has."""
    there = replace(settings, device="cpu", kv_cache_memory_bytes=kv_cache_bytes)
    return plan(shape, there, gpu_of_memory(1.0)).to_json()


def _judged(planned: Plan, report: Report, pod: str, note: str) -> Condition:
    found = list(_differences(planned, report))
    told = (
        f"{_got(report, pod)} Planned were {planned['kvCacheTokens']} tokens and "
        f"{planned['concurrencyAtMaxModelLen']:.2f} requests.{note}"
    )
    if not found:
        return _condition("True", Reason.AS_PLANNED, told)
    off = "; ".join(one.text for one in found)
    return _condition(
        "False", found[0].reason, f"{told} More than {TOLERANCE:.0%} off: {off}.{_versions(planned, report)}"
    )


def _got(report: Report, pod: str) -> str:
    return (
        f"The engine of pod {pod} has {report.tokens} tokens of KV cache, for {report.concurrency:.2f} requests of "
        f"{report.max_model_len} tokens at once."
    )


def _versions(planned: Plan, report: Report) -> str:
    used, runs = str(planned.get("engineVersion", "")), report.engine_version.partition("+")[0]
    return "" if used == runs else f" The plan is for vLLM {used}, and {runs} runs."


def _differences(planned: Plan, report: Report) -> Iterator[_Difference]:
    """The first one names the condition's reason."""
    length, weights = planned["maxModelLen"], planned["perGPU"]["weightsBytes"]
    if _off(length, report.max_model_len):
        text = f"maxModelLen is {report.max_model_len} instead of {length}"
        yield _Difference(Reason.MAX_MODEL_LEN_DIFFERS, text)
    if report.memory.weights is not None and _off(weights, report.memory.weights):
        yield _term("weightsBytes", weights, report.memory.weights)
    same_length = not _off(length, report.max_model_len)
    other_requests = same_length and _off(planned["concurrencyAtMaxModelLen"], report.concurrency)
    if other_requests or _off(planned["kvCacheTokens"], report.tokens):
        yield from _kv_cache(planned, report)


def _kv_cache(planned: Plan, report: Report) -> Iterator[_Difference]:
    """Why the KV cache holds more or less: it has other bytes, or a byte of it holds other tokens."""
    expected, got = planned["perGPU"]["kvCacheBytes"]["expected"], report.memory.kv_cache
    if got is None:
        yield _Difference(
            Reason.KV_CACHE_DIFFERS, f"the KV cache has {report.blocks} blocks instead of {planned['blocks']}"
        )
        return
    if _off(expected, got):
        yield from _spent(planned["perGPU"], report.memory)
        yield _Difference(Reason.KV_CACHE_DIFFERS, f"KV cache {_gib(got)} instead of {_gib(expected)}")
    if min(expected, got) <= 0 or _off(planned["kvCacheTokens"] / expected, report.tokens / got):
        text = (
            f"{_gib(got)} of KV cache hold {report.blocks} blocks of {report.block_size} tokens, planned were "
            f"{planned['blocks']} of {planned['blockSize']} in {_gib(expected)}"
        )
        yield _Difference(Reason.KV_CACHE_LAYOUT_DIFFERS, text)


def _spent(planned: Plan, got: MemoryTerms) -> Iterator[_Difference]:
    """The terms that account for another number of bytes: the one that is off most, and others that would do alone."""
    measured = {key: value for key, value in got.to_json().items() if key in _TERMS}
    known = [(key, abs(value - _expected(planned[key])), value) for key, value in measured.items()]
    matters = TOLERANCE * abs(planned["kvCacheBytes"]["expected"])
    for number, (key, difference, value) in enumerate(sorted(known, key=lambda term: -term[1])):
        told = key == "weightsBytes" and _off(planned[key], value)
        if not told and (number == 0 or difference > matters):
            yield _term(key, planned[key], value)


def _expected(planned: Any) -> int:
    return int(planned["expected"] if isinstance(planned, Mapping) else planned)


def _term(key: str, planned: Any, got: int) -> _Difference:
    """`planned`: bytes, or the interval of a term that cannot be known exactly."""
    reason, name = _TERMS[key]
    interval = f" ({_gib(planned['low'])} to {_gib(planned['high'])})" if isinstance(planned, Mapping) else ""
    return _Difference(reason, f"{name} {_gib(got)} instead of {_gib(_expected(planned))}{interval}")


def _off(planned: float, got: float) -> bool:
    return abs(got - planned) > TOLERANCE * abs(planned)


def _gib(size: int) -> str:
    return f"{size / _GIB:.2f} GiB"


def _condition(status: Status, reason: Reason, message: str) -> Condition:
    return Condition(ConditionType.PLAN_ACCURATE, status, reason, message)
