"""What the engine refuses before it loads anything, as an ordered chain of checks with the fix in each message.

Sources (vLLM 0.25 to 0.32): `config/model.py: verify_with_parallel_config`, `layers/linear.py`,
`vocab_parallel_embedding.py`, `platforms/cuda.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.capacity.dtypes import CACHE_DTYPE_BYTES, MLA_PACKED_BYTES, MODEL_DTYPES, STATE_DTYPES
from triton_vllm_operator.capacity.gpus.products import GPUClass
from triton_vllm_operator.capacity.memory.engine_settings import EngineSettings, Resolved, quantization_method
from triton_vllm_operator.capacity.memory.kv_cache import KVLayout, ceil_div
from triton_vllm_operator.capacity.memory.weights import VOCAB_PADDING
from triton_vllm_operator.capacity.model.families import family_of
from triton_vllm_operator.capacity.model.shape import ModelShape
from triton_vllm_operator.catalog import quantization


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the engine would not start, and what to write instead."""

    reason: Reason
    message: str


Check = Callable[[ModelShape, EngineSettings, GPUClass, Resolved], Refusal | None]


def refusal(shape: ModelShape, settings: EngineSettings, gpu: GPUClass, resolved: Resolved) -> Refusal | None:
    """The first rule that these settings break, or None."""
    for check in _CHECKS:
        found = check(shape, settings, gpu, resolved)
        if found is not None:
            return found
    return None


def _divisors(number: int, limit: int = 64) -> str:
    return ", ".join(str(n) for n in range(1, min(number, limit) + 1) if number % n == 0)


def _in_range(shape: ModelShape, settings: EngineSettings, gpu: GPUClass, resolved: Resolved) -> Refusal | None:
    least = {
        "tensorParallelSize": (settings.tensor_parallel_size, 1),
        "pipelineParallelSize": (settings.pipeline_parallel_size, 1),
        "maxModelLen": (settings.max_model_len, 1),
        "maxNumBatchedTokens": (settings.max_num_batched_tokens, 1),
        "maxNumSeqs": (settings.max_num_seqs, 1),
        "blockSize": (settings.block_size, 1),
        "num_speculative_tokens": (settings.num_speculative_tokens, 0),
        "kv_cache_memory_bytes": (settings.kv_cache_memory_bytes, 0),
    }
    for name, (value, bound) in least.items():
        if value is not None and value < bound:
            return Refusal(Reason.SETTING_OUT_OF_RANGE, f"{name} is {value}; use {bound} or more")
    if not 0 < resolved.gpu_memory_utilization <= 1:
        return Refusal(
            Reason.SETTING_OUT_OF_RANGE,
            f"gpuMemoryUtilization is {resolved.gpu_memory_utilization}; use a number above 0 and at most 1",
        )
    return None


def _heads(shape: ModelShape, settings: EngineSettings, gpu: GPUClass, resolved: Resolved) -> Refusal | None:
    tp = settings.tensor_parallel_size
    if shape.attention_heads % tp:
        return Refusal(
            Reason.TENSOR_PARALLEL_HEADS,
            f"{shape.attention_heads} attention heads cannot be split over tensorParallelSize {tp}; "
            f"use one of {_divisors(shape.attention_heads)}",
        )
    return None


def _kv_heads(shape: ModelShape, settings: EngineSettings, gpu: GPUClass, resolved: Resolved) -> Refusal | None:
    tp, heads = settings.tensor_parallel_size, shape.kv_heads
    if shape.uses_mla or not heads or heads % tp == 0 or tp % heads == 0:
        return None
    return Refusal(
        Reason.TENSOR_PARALLEL_KV_HEADS,
        f"{heads} KV heads and tensorParallelSize {tp}: one must divide the other; use one of {_divisors(heads)}",
    )


def _vocabulary(shape: ModelShape, settings: EngineSettings, gpu: GPUClass, resolved: Resolved) -> Refusal | None:
    padded = ceil_div(shape.vocab_size, VOCAB_PADDING) * VOCAB_PADDING
    if padded % settings.tensor_parallel_size == 0:
        return None
    return Refusal(
        Reason.TENSOR_PARALLEL_VOCABULARY,
        f"the padded vocabulary ({padded}) cannot be split over tensorParallelSize {settings.tensor_parallel_size}; "
        f"use one of {_divisors(padded)}",
    )


def _widths(shape: ModelShape, settings: EngineSettings, gpu: GPUClass, resolved: Resolved) -> Refusal | None:
    tp = settings.tensor_parallel_size
    whole_experts = settings.enable_expert_parallel
    width = shape.experts.intermediate_size if shape.experts else shape.intermediate_size
    if not width or (shape.experts and whole_experts):
        return None
    if width % tp:
        return Refusal(
            Reason.TENSOR_PARALLEL_WIDTH,
            f"the feed-forward width {width} cannot be split over tensorParallelSize {tp}; "
            f"use one of {_divisors(width)}",
        )
    return _quantized_width(shape, width // tp, tp)


def _quantized_width(shape: ModelShape, share: int, tp: int) -> Refusal | None:
    quantization = shape.quantization
    if quantization is None:
        return None
    unit = quantization.group_size or quantization.block[1] or quantization.block[0]
    if tp == 1 or unit == 0 or share % unit == 0:
        return None
    return Refusal(
        Reason.QUANTIZATION_GROUP_SPLIT,
        f"tensorParallelSize {tp} leaves {share} inputs per GPU, which the {quantization.method} group of {unit} does "
        "not divide; use a smaller tensorParallelSize or enableExpertParallel for experts",
    )


def _pipeline(shape: ModelShape, settings: EngineSettings, gpu: GPUClass, resolved: Resolved) -> Refusal | None:
    stages = settings.pipeline_parallel_size
    if stages > 1 and not shape.pipeline_parallel:
        return Refusal(
            Reason.PIPELINE_PARALLEL_UNSUPPORTED, f"{shape.architecture} does not support pipelineParallelSize > 1"
        )
    if stages > len(shape.layers):
        return Refusal(
            Reason.PIPELINE_PARALLEL_TOO_LARGE,
            f"pipelineParallelSize {stages} is more than the {len(shape.layers)} layers",
        )
    return None


def _experts(shape: ModelShape, settings: EngineSettings, gpu: GPUClass, resolved: Resolved) -> Refusal | None:
    if settings.enable_expert_parallel and not shape.is_moe:
        return Refusal(Reason.NO_EXPERTS, f"{shape.architecture} has no experts; remove enableExpertParallel")
    tp, experts = settings.tensor_parallel_size, shape.experts.count if shape.experts else 0
    if experts and tp > experts and family_of(shape.model_type).engine.one_expert_per_rank:
        return Refusal(
            Reason.TENSOR_PARALLEL_EXPERTS,
            f"tensorParallelSize {tp} is more than the {experts} experts, which {shape.architecture} refuses; "
            f"use tensorParallelSize {experts} or less",
        )
    return None


def _state_groups(shape: ModelShape, settings: EngineSettings, gpu: GPUClass, resolved: Resolved) -> Refusal | None:
    tp = settings.tensor_parallel_size
    groups = {c.state.groups for layer in shape.layers for c in layer.caches if c.state is not None}
    broken = next((count for count in sorted(groups) if count > 1 and count % tp), None)
    if broken is None:
        return None
    return Refusal(
        Reason.TENSOR_PARALLEL_STATE_GROUPS,
        f"{broken} state groups cannot be split over tensorParallelSize {tp}; use one of {_divisors(broken)}",
    )


def _length(shape: ModelShape, settings: EngineSettings, gpu: GPUClass, resolved: Resolved) -> Refusal | None:
    if settings.max_model_len is None or settings.max_model_len <= shape.max_position:
        return None
    return Refusal(
        Reason.MAX_MODEL_LEN_TOO_LONG,
        f"maxModelLen {settings.max_model_len} is longer than the model's {shape.max_position}; "
        f"use maxModelLen {shape.max_position} or less",
    )


def _batch(shape: ModelShape, settings: EngineSettings, gpu: GPUClass, resolved: Resolved) -> Refusal | None:
    if resolved.max_num_batched_tokens >= resolved.max_num_seqs:
        return None
    return Refusal(
        Reason.BATCH_SMALLER_THAN_SEQUENCES,
        f"maxNumBatchedTokens {resolved.max_num_batched_tokens} is less than maxNumSeqs {resolved.max_num_seqs}: each "
        f"running sequence needs one token per step; use maxNumSeqs {resolved.max_num_batched_tokens} or less",
    )


def _known_dtypes(shape: ModelShape, settings: EngineSettings, gpu: GPUClass, resolved: Resolved) -> Refusal | None:
    if resolved.dtype not in MODEL_DTYPES:
        return Refusal(Reason.DTYPE_UNKNOWN, f"dtype {resolved.dtype!r} is not one of auto, {', '.join(MODEL_DTYPES)}")
    if settings.mamba_ssm_cache_dtype not in STATE_DTYPES:
        return Refusal(
            Reason.DTYPE_UNKNOWN,
            f"mambaSsmCacheDtype {settings.mamba_ssm_cache_dtype!r} is not one of {', '.join(STATE_DTYPES)}",
        )
    return None


def _dtype(shape: ModelShape, settings: EngineSettings, gpu: GPUClass, resolved: Resolved) -> Refusal | None:
    if settings.device == "cuda" and resolved.dtype == "bfloat16" and gpu.compute_capability < (8, 0):
        return Refusal(
            Reason.DTYPE_UNSUPPORTED,
            f"{gpu.product} (compute capability {_dotted(gpu.compute_capability)}) has no bfloat16; use dtype: half",
        )
    return None


def _quantization(shape: ModelShape, settings: EngineSettings, gpu: GPUClass, resolved: Resolved) -> Refusal | None:
    method = quantization_method(shape, settings)
    removed = quantization.REMOVED_IN.get(method)
    if removed is not None and resolved.rules.version >= removed:
        return Refusal(
            Reason.QUANTIZATION_REMOVED,
            f"vLLM {settings.engine_version} no longer has {method}; use an AWQ, GPTQ or FP8 checkpoint",
        )
    needed = quantization.minimum_capability(method, resolved.rules.version)
    if settings.device == "cuda" and needed is not None and gpu.compute_capability < needed:
        return Refusal(
            Reason.QUANTIZATION_NOT_ON_GPU,
            f"{method} needs GPUs of compute capability {_dotted(needed)} or higher; {gpu.product} has "
            f"{_dotted(gpu.compute_capability)}: use such GPUs or a model of another quantization",
        )
    return None


def _kv_dtype(shape: ModelShape, settings: EngineSettings, gpu: GPUClass, resolved: Resolved) -> Refusal | None:
    if resolved.kv_cache_dtype in CACHE_DTYPE_BYTES or (shape.uses_mla and resolved.kv_cache_dtype in MLA_PACKED_BYTES):
        return None
    return Refusal(
        Reason.KV_CACHE_DTYPE_UNKNOWN,
        f"the planner has no size for kvCacheDtype {resolved.kv_cache_dtype!r}; use auto, bfloat16, float16 or fp8",
    )


def uneven_pages(kv_layout: KVLayout, settings: EngineSettings, resolved: Resolved) -> Refusal | None:
    """Why an engine that cannot pad KV cache pages would not start (`unify_kv_cache_spec_page_size`), or None."""
    if resolved.rules.pads_uneven_pages or not kv_layout.has_padded_pages:
        return None
    return Refusal(
        Reason.KV_CACHE_PAGES_UNEVEN,
        f"the layers of this model have KV cache pages of sizes that do not divide the largest one, which vLLM "
        f"{settings.engine_version} rejects; use a release with vLLM 0.24.0 or newer",
    )


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"


_CHECKS: tuple[Check, ...] = (
    _in_range, _heads, _kv_heads, _vocabulary, _widths, _pipeline, _experts,
    _state_groups, _length, _batch, _known_dtypes, _dtype, _quantization, _kv_dtype,
)  # fmt: skip
