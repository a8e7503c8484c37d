"""The plan compared with what the engine got: the condition `PlanAccurate`, with the term that differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from contract.report import MemoryTerms
from triton_vllm_operator.api.conditions import Condition, ConditionType, Status
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.api.status import IntervalStatus, PerGPUStatus, PlanStatus
from triton_vllm_operator.capacity import EngineSettings, ModelShape, ShapeError, gpu_of_memory, plan
from triton_vllm_operator.observed.engine_report import Report
from triton_vllm_operator.plan.engine_settings import engine_settings

TOLERANCE: Final = 0.05
"""Largest relative difference from the plan with which the plan counts as accurate."""

_GIB: Final = 2**30
_TERMS: Final[Mapping[str, tuple[Reason, str]]] = {
    "requestedBytes": (Reason.GPU_MEMORY_DIFFERS, "gpuMemoryUtilization of the GPU's memory"),
    "weightsBytes": (Reason.WEIGHTS_DIFFER, "weights"),
    "nonTorchBytes": (Reason.NON_TORCH_MEMORY_DIFFERS, "non-torch memory"),
    "activationBytes": (Reason.ACTIVATION_MEMORY_DIFFERS, "peak activation"),
    "cudaGraphBytes": (Reason.CUDA_GRAPH_MEMORY_DIFFERS, "CUDA graphs"),
}
"""Reason and name of each term that status.plan and status.actual have in perGPU. What they leave is the KV cache."""


@dataclass(frozen=True, slots=True)
class _Difference:
    """A figure that differs from the plan."""

    reason: Reason
    message: str


def unknown(reason: Reason, message: str) -> Condition:
    """Return the condition while there is nothing to compare."""
    return _condition("Unknown", reason, message)


def condition(
    planned: PlanStatus | None, report: Report, pod: str, llm: LLMDeployment, shape: ModelShape | None
) -> Condition:
    """Compare a plan with the engine of one pod.

    Args:
        planned: `status.plan`, made for GPUs; None if there is none.
        llm: with the automatic configuration of the fields that the spec leaves open.
        shape: of the model; None if it was not read.
    """
    found = _engine_condition(planned, report, pod, llm, shape)
    return replace(found, message=f"{found.message}{_container(planned, report)}")


def _engine_condition(
    planned: PlanStatus | None, report: Report, pod: str, llm: LLMDeployment, shape: ModelShape | None
) -> Condition:
    if planned is None or shape is None:
        return unknown(Reason.NOT_PLANNED, f"There is no plan. {_engine_figures(report, pod)}")
    if report.device == "cuda":
        return _compared(planned, report, pod, "")
    if report.memory.kv_cache is None:
        why = "The engine runs on a CPU and does not report the size of its KV cache."
        return unknown(Reason.KV_CACHE_SIZE_UNKNOWN, f"{why} {_engine_figures(report, pod)}")
    try:
        settings = engine_settings(llm.spec.engine, planned.engine_version)
        on_cpu = _plan_on_cpu(shape, settings, report.memory.kv_cache)
    except ShapeError as error:
        return unknown(error.reason, f"{error}. {_engine_figures(report, pod)}")
    size = f"{report.memory.kv_cache / _GIB:.2f} GiB"
    note = f" It runs on a CPU: the plan is for its {size} of KV cache, and the memory of GPUs is not compared."
    return _compared(on_cpu, report, pod, note)


def _plan_on_cpu(shape: ModelShape, settings: EngineSettings, kv_cache_bytes: int) -> PlanStatus:
    """Plan for a CPU, where the serving image sizes the KV cache by the container's memory."""
    on_cpu = replace(settings, device="cpu", kv_cache_memory_bytes=kv_cache_bytes)
    return plan(shape, on_cpu, gpu_of_memory(1.0)).to_status()


def _compared(planned: PlanStatus, report: Report, pod: str, note: str) -> Condition:
    differences = list(_differences(planned, report))
    figures = (
        f"{_engine_figures(report, pod)} Planned were {planned.kv_cache_tokens} tokens and "
        f"{planned.concurrency_at_max_model_len:.2f} requests.{note}"
    )
    if not differences:
        return _condition("True", Reason.AS_PLANNED, figures)
    found = "; ".join(difference.message for difference in differences)
    message = f"{figures} More than {TOLERANCE:.0%} off: {found}.{_versions(planned, report)}"
    return _condition("False", differences[0].reason, message)


def _engine_figures(report: Report, pod: str) -> str:
    return (
        f"The engine of pod {pod} has {report.tokens} tokens of KV cache, for {report.concurrency:.2f} requests of "
        f"{report.max_model_len} tokens at once."
    )


def _container(planned: PlanStatus | None, report: Report) -> str:
    """Sentences about the memory of the server's container; "" where nothing was measured."""
    host = report.host
    moments = (("while the engine was loaded", host.load_peak), ("after the first token", host.first_token))
    used = " and ".join(f"{_gib(size)} {moment}" for moment, size in moments if size is not None)
    if not used:
        return ""
    limit = f", of a limit of {_gib(host.limit)}" if host.limit is not None else ""
    # On a CPU weights and KV cache are in the container too, and the plan is for GPUs.
    account = planned.host.memory_bytes if planned and planned.host and report.device == "cuda" else None
    expected = f" Planned were {_gib(account.low)} to {_gib(account.high)}." if account else ""
    return f" Its container used up to {used}{limit}.{expected}"


def _versions(planned: PlanStatus, report: Report) -> str:
    """A sentence where the pod runs another vLLM than was planned for."""
    running = report.engine_version.partition("+")[0]
    if planned.engine_version == running:
        return ""
    return f" The plan is for vLLM {planned.engine_version}, and {running} runs."


def _differences(planned: PlanStatus, report: Report) -> Iterator[_Difference]:
    """Yield what differs; the first one gives the condition its reason."""
    length, weights = planned.max_model_len, planned.per_gpu.weights_bytes
    other_length = _differs(length, report.max_model_len)
    if other_length:
        text = f"maxModelLen is {report.max_model_len} instead of {length}"
        yield _Difference(Reason.MAX_MODEL_LEN_DIFFERS, text)
    if report.memory.weights is not None and _differs(weights, report.memory.weights):
        yield _term("weightsBytes", weights, report.memory.weights)
    other_requests = not other_length and _differs(planned.concurrency_at_max_model_len, report.concurrency)
    if other_requests or _differs(planned.kv_cache_tokens, report.tokens):
        yield from _kv_cache(planned, report)


def _kv_cache(planned: PlanStatus, report: Report) -> Iterator[_Difference]:
    """Why the KV cache holds more or less: it has other bytes, or one byte of it holds other tokens."""
    expected, measured = planned.per_gpu.kv_cache_bytes.expected, report.memory.kv_cache
    if measured is None:
        text = f"the KV cache has {report.blocks} blocks instead of {planned.blocks}"
        yield _Difference(Reason.KV_CACHE_DIFFERS, text)
        return
    if _differs(expected, measured):
        yield from _spent(planned.per_gpu, report.memory)
        yield _Difference(Reason.KV_CACHE_DIFFERS, f"KV cache {_gib(measured)} instead of {_gib(expected)}")
    if min(expected, measured) <= 0 or _differs(planned.kv_cache_tokens / expected, report.tokens / measured):
        text = (
            f"{_gib(measured)} of KV cache hold {report.blocks} blocks of {report.block_size} tokens, planned were "
            f"{planned.blocks} of {planned.block_size} in {_gib(expected)}"
        )
        yield _Difference(Reason.KV_CACHE_LAYOUT_DIFFERS, text)


def _spent(planned: PerGPUStatus, memory: MemoryTerms) -> Iterator[_Difference]:
    """Yield the terms that account for the other size: the largest difference, and others that would do alone."""
    expected = {str(PerGPUStatus.model_fields[name].alias): value for name, value in planned}
    terms = [(key, expected[key], size) for key, size in memory.to_json().items() if key in _TERMS]
    terms.sort(key=lambda term: -abs(term[2] - _bytes(term[1])))
    matters = TOLERANCE * abs(planned.kv_cache_bytes.expected)
    for number, (key, value, size) in enumerate(terms):
        is_reported = key == "weightsBytes" and _differs(_bytes(value), size)
        if not is_reported and (number == 0 or abs(size - _bytes(value)) > matters):
            yield _term(key, value, size)


def _bytes(planned: int | IntervalStatus) -> int:
    return planned if isinstance(planned, int) else planned.expected


def _term(key: str, planned: int | IntervalStatus, measured: int) -> _Difference:
    """Return the difference of one term. `planned` is an interval where the term is not known exactly."""
    reason, name = _TERMS[key]
    interval = "" if isinstance(planned, int) else f" ({_gib(planned.low)} to {_gib(planned.high)})"
    return _Difference(reason, f"{name} {_gib(measured)} instead of {_gib(_bytes(planned))}{interval}")


def _differs(planned: float, measured: float) -> bool:
    return abs(measured - planned) > TOLERANCE * abs(planned)


def _gib(size: int) -> str:
    return f"{size / _GIB:.2f} GiB"


def _condition(status: Status, reason: Reason, message: str) -> Condition:
    return Condition(ConditionType.PLAN_ACCURATE, status, reason, message)
