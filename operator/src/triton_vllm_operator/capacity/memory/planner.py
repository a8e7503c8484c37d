"""Plans one replica: what a GPU spends its memory on, and whether the model fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.status import IntervalStatus, PerGPUStatus, PlanStatus, SuggestionStatus
from triton_vllm_operator.capacity.gpus.products import GPUClass
from triton_vllm_operator.capacity.memory.constraints import Refusal, refusal, uneven_pages
from triton_vllm_operator.capacity.memory.engine_settings import EngineSettings, Resolved, resolve
from triton_vllm_operator.capacity.memory.fit_checks import Budget, Verdict, judge
from triton_vllm_operator.capacity.memory.host import HostAccount, host_account, host_status
from triton_vllm_operator.capacity.memory.kv_cache import KVLayout, KVResult, capacity, layout
from triton_vllm_operator.capacity.memory.overhead import Interval, Overhead, overhead, weight_rounding
from triton_vllm_operator.capacity.memory.weights import Parallelism, stage_weights
from triton_vllm_operator.capacity.model.families import family_of
from triton_vllm_operator.capacity.model.shape import LayerShape, ModelShape


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A change of settings that was itself planned and fits.

    Attributes:
        changes: fields of the spec with their new values.
        message: the change in words.
        verdict: of the plan with the change.
        concurrency: requests of `max_model_len` tokens at once, with the change.
    """

    changes: tuple[tuple[str, str | int | float], ...]
    message: str
    verdict: Verdict
    concurrency: float

    def to_status(self) -> SuggestionStatus:
        """Return the suggestion as `status.plan` holds it."""
        return SuggestionStatus(
            changes=dict(self.changes),
            message=self.message,
            verdict=self.verdict,
            concurrency_at_max_model_len=round(self.concurrency, 2),
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer for one model, one set of settings and one GPU class.

    Bytes are per GPU, on the rank with the most weights.

    Attributes:
        gpu: product of the GPU class.
        total_bytes: memory of the GPU.
        requested_bytes: `total_bytes` times `gpu_memory_utilization`.
        kv_bytes: left for the KV cache; negative where weights and overhead take more than is requested.
        resolved: the settings with the engine's defaults filled in.
        layout: groups of the KV cache.
        kv: what the expected `kv_bytes` give.
        kv_low: what the low end of `kv_bytes` gives.
        host: what the replica takes of its host; None where the engine would not start.
    """

    verdict: Verdict
    reason: Reason
    message: str
    gpu: str
    engine_version: str
    gpus_per_replica: int
    total_bytes: int
    requested_bytes: int
    weights_bytes: int
    overhead: Overhead
    kv_bytes: Interval
    resolved: Resolved
    layout: KVLayout
    kv: KVResult
    kv_low: KVResult
    host: HostAccount | None = None
    suggestions: tuple[Suggestion, ...] = field(default=())

    def to_status(self) -> PlanStatus:
        """Return the plan as `status.plan` holds it."""
        return PlanStatus(
            verdict=self.verdict,
            reason=str(self.reason),
            message=self.message,
            gpu=self.gpu,
            engine_version=self.engine_version,
            gpus_per_replica=self.gpus_per_replica,
            per_gpu=PerGPUStatus(
                total_bytes=self.total_bytes,
                requested_bytes=self.requested_bytes,
                weights_bytes=self.weights_bytes,
                non_torch_bytes=_interval(self.overhead.non_torch),
                activation_bytes=_interval(self.overhead.activation),
                cuda_graph_bytes=_interval(self.overhead.cuda_graph),
                kv_cache_bytes=_interval(self.kv_bytes),
            ),
            host=host_status(self.host, None) if self.host is not None else None,
            block_size=self.layout.block_size,
            blocks=self.kv.blocks,
            kv_cache_tokens=self.kv.tokens,
            max_model_len=self.resolved.max_model_len,
            concurrency_at_max_model_len=round(self.kv.concurrency, 4),
            suggestions=[suggestion.to_status() for suggestion in self.suggestions],
        )

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form of `to_status`."""
        return self.to_status().to_json()


def _interval(bytes_: Interval) -> IntervalStatus:
    return IntervalStatus(low=bytes_.low, expected=bytes_.expected, high=bytes_.high)


def plan(shape: ModelShape, settings: EngineSettings, gpu: GPUClass) -> Plan:
    """Plan one replica on GPUs of one class.

    Settings on which the engine would not start give a plan with the verdict DoesNotFit and the rule as its reason.

    Raises:
        ShapeError: the engine version or the model type is not known.
    """
    family_of(shape.model_type)  # raises for a type that is not proven, which a shape file may name
    resolved = resolve(shape, settings, gpu)
    refused = refusal(shape, settings, gpu, resolved)
    requested = ceil(gpu.memory_bytes * resolved.gpu_memory_utilization)
    if refused is not None:
        return _refused(refused, settings, gpu, resolved, requested)
    kv_layout = layout(shape.layers, resolved.kv, draft_layers(shape, settings))
    uneven = uneven_pages(kv_layout, settings, resolved)
    if uneven is not None:
        return _refused(uneven, settings, gpu, resolved, requested)
    weights = _weights(shape, settings, resolved)
    spent = overhead(shape, settings, resolved, gpu)
    available = _available(settings, requested, max(weights), spent.total, weight_rounding(shape, settings))
    low, expected, high = (
        _capacity(kv_layout, resolved, settings, weights, free)
        for free in (available.low, available.expected, available.high)
    )
    budget = Budget(shape, settings, gpu, resolved, requested, available, low, expected, high)
    verdict, reason, message = judge(budget)
    return Plan(
        verdict=verdict,
        reason=reason,
        message=message,
        gpu=gpu.product,
        engine_version=settings.engine_version,
        gpus_per_replica=settings.gpus,
        total_bytes=gpu.memory_bytes,
        requested_bytes=requested,
        weights_bytes=max(weights),
        overhead=spent,
        kv_bytes=available,
        resolved=resolved,
        layout=kv_layout,
        kv=expected,
        kv_low=low,
        host=host_account(shape, settings),
    )


def draft_layers(shape: ModelShape, settings: EngineSettings) -> tuple[LayerShape, ...]:
    """Return the layers that speculative decoding adds to the KV cache."""
    if settings.speculation == "mtp":
        return shape.draft_layers[:1] if shape.draft_layers else ()
    if settings.speculation in {"eagle", "draft_model"} and settings.draft_attention_layers:
        cache = next((c for layer in shape.layers for c in layer.caches if c.kind in {"full", "mla"}), None)
        return (LayerShape((cache,)),) * settings.draft_attention_layers if cache else ()
    return ()


def _weights(shape: ModelShape, settings: EngineSettings, resolved: Resolved) -> tuple[int, ...]:
    parallel = Parallelism(
        settings.tensor_parallel_size,
        settings.pipeline_parallel_size,
        settings.enable_expert_parallel,
        settings.layer_partition,
    )
    sizes = list(stage_weights(shape, parallel))
    sizes[-1] += settings.draft_weight_bytes
    if settings.speculation == "mtp":
        parts = (part for layer in shape.draft_layers for part in layer.weights)
        sizes[-1] += sum(part.size_bytes // settings.tensor_parallel_size for part in parts)
    wide = resolved.dtype == "float32" and shape.quantization is None  # shapes hold weights in 16 bits
    return tuple(2 * size if wide else size for size in sizes)


def _available(settings: EngineSettings, requested: int, weights: int, spent: Interval, rounding: int) -> Interval:
    if settings.kv_cache_memory_bytes is not None:
        given = settings.kv_cache_memory_bytes
        return Interval(given, given, given)
    left = requested - weights
    return Interval(left - spent.high - rounding, left - spent.expected, left - spent.low)


def _capacity(
    kv_layout: KVLayout,
    resolved: Resolved,
    settings: EngineSettings,
    weights: Sequence[int],
    available: int,
) -> KVResult:
    """Return what `available` bytes on the rank with the most weights give; ranks with fewer have more left."""
    if settings.kv_cache_memory_bytes is not None:
        return capacity(kv_layout, resolved.kv, available)
    return capacity(kv_layout, resolved.kv, [available + max(weights) - size for size in weights])


def _refused(refused: Refusal, settings: EngineSettings, gpu: GPUClass, resolved: Resolved, requested: int) -> Plan:
    nothing = Interval(0, 0, 0)
    empty = KVResult(0, 0, 0.0, False, 0, 0)
    return Plan(
        verdict="DoesNotFit",
        reason=refused.reason,
        message=refused.message,
        gpu=gpu.product,
        engine_version=settings.engine_version,
        gpus_per_replica=settings.gpus,
        total_bytes=gpu.memory_bytes,
        requested_bytes=requested,
        weights_bytes=0,
        overhead=Overhead(nothing, nothing, nothing),
        kv_bytes=nothing,
        resolved=resolved,
        layout=KVLayout((), (), resolved.block_size),
        kv=empty,
        kv_low=empty,
    )
