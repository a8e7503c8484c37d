"""Whether a replica fits: an ordered chain of checks on its memory budget, each with the fix in its message.

The first check that finds something decides. The checks of `constraints` come before: they need no budget.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.capacity.gpus.products import GPUClass
from triton_vllm_operator.capacity.memory.engine_settings import EngineSettings, Resolved
from triton_vllm_operator.capacity.memory.kv_cache import KVResult
from triton_vllm_operator.capacity.memory.overhead import GIB, Interval, baseline
from triton_vllm_operator.capacity.model.shape import ModelShape

Verdict = Literal["Fits", "Tight", "DoesNotFit"]
Judgement = tuple[Verdict, Reason, str]
"""The verdict, its reason, and a message that says what to change."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The memory of one GPU of a replica, and what its rest gives as KV cache.

    Attributes:
        requested: bytes that the engine takes of the GPU.
        available: bytes left for the KV cache.
        low, expected, high: what the ends and the middle of `available` give.
    """

    shape: ModelShape
    settings: EngineSettings
    gpu: GPUClass
    resolved: Resolved
    requested: int
    available: Interval
    low: KVResult
    expected: KVResult
    high: KVResult


def judge(budget: Budget) -> Judgement:
    """Return the judgement of the first check that finds something; Fits when none does."""
    for check in _CHECKS:
        if (judgement := check(budget)) is not None:
            return judgement
    result = budget.expected
    return (
        "Fits",
        Reason.FITS,
        f"{result.tokens} tokens of KV cache: {result.concurrency:.2f} requests of {budget.resolved.max_model_len} "
        "tokens at once before queueing",
    )


def _context_does_not_fit(budget: Budget) -> Judgement | None:
    judgement = _context_memory(budget)
    return judgement if judgement is not None and judgement[0] == "DoesNotFit" else None


def _context_memory(budget: Budget) -> Judgement | None:
    """Judge the memory beside what the engine requests, which the CUDA context needs."""
    settings, gpu = budget.settings, budget.gpu
    if settings.device == "cpu" or settings.kv_cache_memory_bytes is not None:
        return None
    beside, context = gpu.memory_bytes - budget.requested, baseline(settings)
    if beside >= context.high:
        return None
    highest = 1 - (context.high / GIB + 0.05) / gpu.memory_gib
    advice = f"use gpuMemoryUtilization {highest:.2f} or less" if highest >= 0.01 else "use a larger GPU"
    return (
        "DoesNotFit" if beside < context.low else "Tight",
        Reason.UTILIZATION_TOO_HIGH,
        f"the engine asks for {budget.requested / GIB:.2f} of {gpu.memory_gib:.2f} GiB, but the CUDA context needs "
        f"about {context.expected / GIB:.2f} GiB beside it; {advice}",
    )


def _no_memory(budget: Budget) -> Judgement | None:
    if budget.available.high > 0:
        return None
    return (
        "DoesNotFit",
        Reason.NO_KV_CACHE_MEMORY,
        f"weights and start-up peak leave no memory for the KV cache ({-budget.available.high / GIB:.2f} GiB short of "
        f"{budget.requested / GIB:.2f}); use more GPUs (tensorParallelSize), a quantized variant or a larger GPU",
    )


def _less_than_one_request(budget: Budget) -> Judgement | None:
    high = budget.high
    if high.fits_one_request:
        return None
    return (
        "DoesNotFit",
        Reason.KV_CACHE_TOO_SMALL,
        f"one request of {budget.resolved.max_model_len} tokens needs {high.needed_bytes / GIB:.2f} GiB of KV cache "
        f"and at most {budget.available.high / GIB:.2f} GiB are left; maxModelLen {high.estimated_max_len} would fit "
        "at best",
    )


def _too_few_state_blocks(budget: Budget) -> Judgement | None:
    blocks, seqs = budget.expected.blocks, budget.resolved.max_num_seqs
    keeps_states = budget.shape.is_hybrid or budget.shape.is_attention_free
    if not keeps_states or blocks >= seqs:
        return None
    return (
        "DoesNotFit",
        Reason.TOO_FEW_STATE_BLOCKS,
        f"the model keeps one state block per request: maxNumSeqs {seqs} is more than the {blocks} blocks there are; "
        f"use maxNumSeqs {fitting_sequences(blocks)} or less",
    )


def fitting_sequences(blocks: int) -> int:
    """Return a `max_num_seqs` that this many state blocks allow, with a tenth left for the error of the estimate."""
    return max(blocks * 9 // 10, 1)


def _decided_by_overhead(budget: Budget) -> Judgement | None:
    if budget.low.fits_one_request:
        return None
    available = budget.available
    return (
        "Tight",
        Reason.DECIDED_BY_OVERHEAD,
        f"one request of {budget.resolved.max_model_len} tokens fits only if the engine's start-up peak stays small: "
        f"the KV cache gets {available.low / GIB:.2f} to {available.high / GIB:.2f} GiB and needs "
        f"{budget.expected.needed_bytes / GIB:.2f}; a lower maxModelLen or maxNumBatchedTokens settles it",
    )


def _draft_model_unknown(budget: Budget) -> Judgement | None:
    settings = budget.settings
    if settings.speculation not in {"eagle", "draft_model"} or settings.draft_weight_bytes:
        return None
    return (
        "Tight",
        Reason.DRAFT_MODEL_UNKNOWN,
        f"it fits without the weights of the {settings.speculation} model, whose size is not known here; "
        "compare them with the KV cache that is left",
    )


def _weights_estimated(budget: Budget) -> Judgement | None:
    incomplete = budget.shape.weights_incomplete
    if not incomplete:
        return None
    return (
        "Tight",
        Reason.WEIGHTS_ESTIMATED,
        f"it fits by the weights that follow from config.json, but {incomplete}; "
        "the safetensors headers of the checkpoint settle it",
    )


_CHECKS: Final[tuple[Callable[[Budget], Judgement | None], ...]] = (
    _context_does_not_fit,
    _no_memory,
    _less_than_one_request,
    _too_few_state_blocks,
    _decided_by_overhead,
    _context_memory,  # what is left of it is Tight
    _draft_model_unknown,
    _weights_estimated,
)
