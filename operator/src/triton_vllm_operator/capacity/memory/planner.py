"""The plan: what one GPU of a replica spends its memory on, and whether the model fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Literal

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.capacity.gpus.products import GPUClass
from triton_vllm_operator.capacity.memory.constraints import Refusal, refusal, uneven_pages
from triton_vllm_operator.capacity.memory.engine_settings import EngineSettings, Resolved, resolve
from triton_vllm_operator.capacity.memory.kv_cache import KVLayout, KVResult, capacity, layout
from triton_vllm_operator.capacity.memory.overhead import GIB, Interval, Overhead, baseline, overhead, weight_rounding
from triton_vllm_operator.capacity.memory.weights import Parallelism, stage_weights
from triton_vllm_operator.capacity.model.shape import LayerShape, ModelShape

Verdict = Literal["Fits", "Tight", "DoesNotFit"]


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A change of settings, itself planned and proven to fit. ``changes`` are spec fields and their new values."""

    changes: tuple[tuple[str, str | int | float], ...]
    message: str
    verdict: Verdict
    concurrency: float

    def to_json(self) -> dict[str, Any]:
        """Plain form for a status."""
        return {
            "changes": dict(self.changes),
            "message": self.message,
            "verdict": self.verdict,
            "concurrencyAtMaxModelLen": round(self.concurrency, 2),
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer for one model, one set of settings and one GPU class. Bytes are per GPU, on the fullest rank."""

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
    kv_high: KVResult
    suggestions: tuple[Suggestion, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Exactly what ``status.plan`` holds."""
        return {
            "verdict": self.verdict,
            "reason": str(self.reason),
            "message": self.message,
            "gpu": self.gpu,
            "engineVersion": self.engine_version,
            "gpusPerReplica": self.gpus_per_replica,
            "perGPU": {
                "totalBytes": self.total_bytes,
                "requestedBytes": self.requested_bytes,
                "weightsBytes": self.weights_bytes,
                "nonTorchBytes": self.overhead.non_torch.to_json(),
                "activationBytes": self.overhead.activation.to_json(),
                "cudaGraphBytes": self.overhead.cuda_graph.to_json(),
                "kvCacheBytes": self.kv_bytes.to_json(),
            },
            "blockSize": self.layout.block_size,
            "blocks": self.kv.blocks,
            "kvCacheTokens": self.kv.tokens,
            "maxModelLen": self.resolved.max_model_len,
            "concurrencyAtMaxModelLen": round(self.kv.concurrency, 4),
            "suggestions": [suggestion.to_json() for suggestion in self.suggestions],
        }


def plan(shape: ModelShape, settings: EngineSettings, gpu: GPUClass) -> Plan:
    """Plan one replica on GPUs of one class. Rules the engine would refuse on come back as the plan's reason."""
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
    low, expected, high = (_capacity(kv_layout, resolved, settings, weights, bytes_, max(weights))
                           for bytes_ in (available.low, available.expected, available.high))  # fmt: skip
    verdict, reason, message = _judge(shape, settings, gpu, resolved, requested, available, (low, expected, high))
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
        kv_high=high,
    )


def draft_layers(shape: ModelShape, settings: EngineSettings) -> tuple[LayerShape, ...]:
    """Layers that speculative decoding adds to the KV cache."""
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
        sizes[-1] += sum(part.size_bytes // settings.tensor_parallel_size
                         for layer in shape.draft_layers for part in layer.weights)  # fmt: skip
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
    largest: int,
) -> KVResult:
    if settings.kv_cache_memory_bytes is not None:
        return capacity(kv_layout, resolved.kv, available)
    return capacity(kv_layout, resolved.kv, [available + largest - size for size in weights])


def _judge(
    shape: ModelShape,
    settings: EngineSettings,
    gpu: GPUClass,
    resolved: Resolved,
    requested: int,
    available: Interval,
    results: tuple[KVResult, KVResult, KVResult],
) -> tuple[Verdict, Reason, str]:
    low, expected, high = results
    start = _start_memory(settings, gpu, requested)
    if start is not None and start[0] == "DoesNotFit":
        return start
    if available.high <= 0:
        return _no_memory(shape, available, requested)
    if not high.fits_one_request:
        return _too_small(resolved, available, high)
    states = _state_blocks(shape, resolved, expected)
    if states is not None:
        return states
    if not low.fits_one_request:
        return (
            "Tight",
            Reason.DECIDED_BY_OVERHEAD,
            f"one request of {resolved.max_model_len} tokens fits only if the engine's start-up peak stays small: the "
            f"KV cache gets {available.low / GIB:.2f} to {available.high / GIB:.2f} GiB and needs "
            f"{expected.needed_bytes / GIB:.2f}; a lower maxModelLen or maxNumBatchedTokens settles it",
        )
    if start is not None:
        return start
    if settings.speculation in {"eagle", "draft_model"} and not settings.draft_weight_bytes:
        return (
            "Tight",
            Reason.DRAFT_MODEL_UNKNOWN,
            f"it fits without the weights of the {settings.speculation} model, whose size is not known here; "
            "compare them with the KV cache that is left",
        )
    if shape.weights_incomplete:
        return (
            "Tight",
            Reason.WEIGHTS_ESTIMATED,
            f"it fits by the weights that config.json tells, but {shape.weights_incomplete}; "
            "the safetensors headers of the checkpoint settle it",
        )
    return (
        "Fits",
        Reason.FITS,
        f"{expected.tokens} tokens of KV cache: {expected.concurrency:.2f} requests of {resolved.max_model_len} tokens "
        "at once before queueing",
    )


def _start_memory(settings: EngineSettings, gpu: GPUClass, requested: int) -> tuple[Verdict, Reason, str] | None:
    if settings.device == "cpu" or settings.kv_cache_memory_bytes is not None:
        return None
    beside, context = gpu.memory_bytes - requested, baseline(settings)
    if beside >= context.high:
        return None
    verdict: Verdict = "DoesNotFit" if beside < context.low else "Tight"
    highest = 1 - (context.high / GIB + 0.05) / gpu.memory_gib
    advice = f"use gpuMemoryUtilization {highest:.2f} or less" if highest >= 0.01 else "use a larger GPU"
    return (
        verdict,
        Reason.UTILIZATION_TOO_HIGH,
        f"the engine asks for {requested / GIB:.2f} of {gpu.memory_gib:.2f} GiB, but the CUDA context needs about "
        f"{context.expected / GIB:.2f} GiB beside it; {advice}",
    )


def _no_memory(shape: ModelShape, available: Interval, requested: int) -> tuple[Verdict, Reason, str]:
    return (
        "DoesNotFit",
        Reason.NO_KV_CACHE_MEMORY,
        f"weights and start-up peak leave no memory for the KV cache ({-available.high / GIB:.2f} GiB short of "
        f"{requested / GIB:.2f}); use more GPUs (tensorParallelSize), a quantized variant or a larger GPU",
    )


def _too_small(resolved: Resolved, available: Interval, high: KVResult) -> tuple[Verdict, Reason, str]:
    return (
        "DoesNotFit",
        Reason.KV_CACHE_TOO_SMALL,
        f"one request of {resolved.max_model_len} tokens needs {high.needed_bytes / GIB:.2f} GiB of KV cache and at "
        f"most {available.high / GIB:.2f} GiB are left; maxModelLen {high.estimated_max_len} would fit at best",
    )


def _state_blocks(shape: ModelShape, resolved: Resolved, result: KVResult) -> tuple[Verdict, Reason, str] | None:
    hybrid = shape.is_hybrid or shape.is_attention_free
    if not hybrid or result.blocks >= resolved.max_num_seqs:
        return None
    return (
        "DoesNotFit",
        Reason.TOO_FEW_STATE_BLOCKS,
        f"the model keeps one state block per request: maxNumSeqs {resolved.max_num_seqs} is more than the "
        f"{result.blocks} blocks there are; use maxNumSeqs {max(result.blocks * 9 // 10, 1)} or less",
    )


def _refused(refused: Refusal, settings: EngineSettings, gpu: GPUClass, resolved: Resolved, requested: int) -> Plan:
    nothing = Interval(0, 0, 0)
    empty = KVResult(0, 0, 0.0, 0, False, 0, 0)
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
        kv_high=empty,
    )
