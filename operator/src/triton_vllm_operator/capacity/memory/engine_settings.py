"""Engine settings as the user gives them, and what the engine makes of the ones left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

from triton_vllm_operator.capacity.dtypes import full_name
from triton_vllm_operator.capacity.errors import ShapeError
from triton_vllm_operator.capacity.gpus.products import GPUClass
from triton_vllm_operator.capacity.memory.kv_cache import KVSettings
from triton_vllm_operator.capacity.model.shape import ModelShape
from triton_vllm_operator.catalog import engine_rules
from triton_vllm_operator.catalog.engine_rules import EngineRules, EngineVersionError

T = TypeVar("T")

Speculation = Literal["none", "mtp", "eagle", "ngram", "draft_model"]


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """vLLM engine arguments that move the plan; None means "as the engine would choose". Names are vLLM's own.

    `usage` is the engine's usage context: Triton's backend and the API server use `api_server`.
    `draft_attention_layers`: KV layers of a separate EAGLE or draft model, alike the target's attention layers.
    `draft_weight_bytes`: bytes of that model per rank. `compile_cache_warm`: the compile cache survives restarts.
    `kv_offload_gib`: KV cache on the host, `kv_offloading_size` of the native backend. `mm_cache_in_shm`: processed
    images are kept in /dev/shm. `loads_eagerly`: weight files are read into memory as a whole.
    """

    engine_version: str = "0.25.1"
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    max_model_len: int | None = None
    gpu_memory_utilization: float | None = None
    max_num_batched_tokens: int | None = None
    max_num_seqs: int | None = None
    block_size: int | None = None
    kv_cache_dtype: str = "auto"
    dtype: str = "auto"
    quantization: str | None = None
    enforce_eager: bool = False
    enable_prefix_caching: bool | None = None
    enable_chunked_prefill: bool | None = None
    enable_expert_parallel: bool = False
    kv_cache_memory_bytes: int | None = None
    num_gpu_blocks_override: int | None = None
    disable_hybrid_kv_cache_manager: bool | None = None
    async_scheduling: bool | None = None
    max_cudagraph_capture_size: int | None = None
    mamba_ssm_cache_dtype: str = "auto"
    speculation: Speculation = "none"
    num_speculative_tokens: int = 0
    draft_attention_layers: int = 0
    draft_weight_bytes: int = 0
    use_v2_model_runner: bool | None = None
    device: Literal["cuda", "cpu"] = "cuda"
    usage: Literal["api_server", "llm_class", "other"] = "api_server"
    compile_cache_warm: bool = False
    layer_partition: tuple[int, ...] = ()
    kv_offload_gib: float = 0.0
    mm_processor_cache_gb: float = 4.0
    mm_cache_in_shm: bool = False
    loads_eagerly: bool = False

    @property
    def gpus(self) -> int:
        """GPUs of one replica: tensor times pipeline parallel size."""
        return self.tensor_parallel_size * self.pipeline_parallel_size


@dataclass(frozen=True, slots=True)
class Resolved:
    """Settings with every value decided, as they should be written into model.json."""

    rules: EngineRules
    gpu_memory_utilization: float
    max_model_len: int
    max_num_batched_tokens: int
    max_num_seqs: int
    block_size: int
    dtype: str
    kv_cache_dtype: str
    enable_prefix_caching: bool
    v2_runner: bool
    kv: KVSettings


def resolve(shape: ModelShape, settings: EngineSettings, gpu: GPUClass) -> Resolved:
    """Fill in what the engine would (`vllm/engine/arg_utils.py`, `vllm/config`)."""
    rules = rules_of(settings)
    length = _given(settings.max_model_len, shape.default_max_len or shape.max_position)
    batched, seqs = batch_limits(shape, settings, gpu, rules, length)
    dtype = model_dtype(shape, settings, gpu)
    kv_dtype = kv_cache_dtype(shape, settings, dtype)
    caching = prefix_caching(shape, settings, rules)
    v2 = uses_v2_runner(shape, settings, rules)
    block = _given(settings.block_size, default_block_size(shape, settings, gpu))
    kv = KVSettings(
        rules=rules,
        tensor_parallel_size=settings.tensor_parallel_size,
        pipeline_parallel_size=settings.pipeline_parallel_size,
        block_size=block,
        model_dtype=dtype,
        kv_dtype=kv_dtype,
        state_dtype=settings.mamba_ssm_cache_dtype,
        max_model_len=length,
        max_num_batched_tokens=batched,
        batches_in_flight=batches_in_flight(settings, rules, v2),
        speculative_tokens=settings.num_speculative_tokens,
        prefix_caching=caching,
        hybrid_manager=hybrid_manager(shape, settings),
        encoder_len=batched,
        blocks_override=settings.num_gpu_blocks_override,
        kernel_block=32 if settings.device == "cpu" and not shape.uses_mla else 16,
        layer_partition=settings.layer_partition,
    )
    return Resolved(
        rules=rules,
        gpu_memory_utilization=_given(settings.gpu_memory_utilization, rules.default_gpu_memory_utilization),
        max_model_len=length,
        max_num_batched_tokens=batched,
        max_num_seqs=seqs,
        block_size=block,
        dtype=dtype,
        kv_cache_dtype=kv_dtype,
        enable_prefix_caching=caching,
        v2_runner=v2,
        kv=kv,
    )


def _given(value: T | None, default: T) -> T:
    """Return the value unless it is unset: 0 is a value, which the constraints reject."""
    return default if value is None else value


def rules_of(settings: EngineSettings) -> EngineRules:
    """The rules of the settings' vLLM version. Raises `ShapeError` where there are none."""
    try:
        return engine_rules.rules_for(settings.engine_version)
    except EngineVersionError as error:
        raise ShapeError(error.reason, str(error)) from None


def batch_limits(
    shape: ModelShape, settings: EngineSettings, gpu: GPUClass, rules: EngineRules, length: int
) -> tuple[int, int]:
    """(max_num_batched_tokens, max_num_seqs), by GPU class and usage context (`EngineArgs.get_batch_defaults`)."""
    default_tokens, default_seqs = _batch_defaults(settings, gpu, rules)
    seqs = _given(settings.max_num_seqs, default_seqs)
    tokens = settings.max_num_batched_tokens
    if tokens is None:
        whole_prompts = shape.is_encoder_decoder or settings.enable_chunked_prefill is False
        tokens = max(default_tokens, length) if whole_prompts else default_tokens
        tokens = min(seqs * length, tokens)
    if settings.max_num_seqs is None:
        seqs = min(seqs, tokens)
    return tokens, seqs


def _batch_defaults(settings: EngineSettings, gpu: GPUClass, rules: EngineRules) -> tuple[int, int]:
    if settings.usage == "other":
        return 2048, 128
    api = settings.usage == "api_server"
    if settings.device == "cpu":
        return (2048 if api else 4096) * settings.gpus, (128 if api else 256) * settings.gpus
    gib = gpu.memory_bytes / 2**30
    if rules.large_gpu_batch_gib and gib >= rules.large_gpu_batch_gib:
        return 16384, 1024
    integrated = rules.excludes_gb10_from_large_batches and gpu.compute_capability == (12, 1)
    if gib >= 70 and "a100" not in gpu.product.lower() and not integrated:
        return (8192 if api else 16384), 1024
    return (2048 if api else 8192), 256


def model_dtype(shape: ModelShape, settings: EngineSettings, gpu: GPUClass) -> str:
    """The dtype the engine computes in; 32-bit checkpoints are served in 16 bits, T4-class cards in float16."""
    supported = ["bfloat16", "float16", "float32"]
    if settings.device == "cuda" and gpu.compute_capability < (8, 0):
        supported = ["float16", "float32"]
    if settings.dtype not in {"auto", ""}:
        return full_name(settings.dtype)
    if shape.dtype == "float32" or shape.dtype not in supported:
        return supported[0]
    return shape.dtype


def quantization_method(shape: ModelShape, settings: EngineSettings) -> str:
    """Return the method with which the engine loads the weights, the checkpoint's unless one is set; "" for none."""
    return settings.quantization or (shape.quantization.method if shape.quantization else "")


def kv_cache_dtype(shape: ModelShape, settings: EngineSettings, dtype: str) -> str:
    """The KV cache's dtype: what is asked, else what the checkpoint declares, else the model's dtype."""
    if settings.kv_cache_dtype != "auto":
        return settings.kv_cache_dtype
    if shape.quantization is not None and shape.quantization.kv_cache_dtype != "auto":
        return shape.quantization.kv_cache_dtype
    return dtype


def prefix_caching(shape: ModelShape, settings: EngineSettings, rules: EngineRules) -> bool:
    """Whether prefix caching is on."""
    if settings.enable_prefix_caching is not None:
        return settings.enable_prefix_caching
    if shape.is_encoder_decoder or shape.is_attention_free:
        return False
    return rules.hybrid_prefix_caching if shape.is_hybrid else True


def uses_v2_runner(shape: ModelShape, settings: EngineSettings, rules: EngineRules) -> bool:
    """Whether the engine runs the model on its V2 model runner by default."""
    if settings.use_v2_model_runner is not None:
        return settings.use_v2_model_runner
    if settings.device == "cpu":
        return False
    listed = shape.architecture in rules.v2_architectures
    if rules.v2_runner == "all":
        return True
    if rules.v2_runner == "dense_or_listed":
        return listed or not (shape.is_hybrid or shape.is_attention_free or shape.is_moe)
    if rules.v2_runner == "listed":
        return listed
    if rules.v2_runner == "listed_dense_unquantized":
        return listed and not shape.is_moe and shape.quantization is None
    return False


def batches_in_flight(settings: EngineSettings, rules: EngineRules, v2: bool) -> int:
    """Batches scheduled but not settled (`VllmConfig.max_concurrent_batches`)."""
    stages = settings.pipeline_parallel_size
    asynchronous = settings.async_scheduling
    if asynchronous is None:
        asynchronous = (
            rules.async_scheduling
            and settings.device != "cpu"
            and settings.speculation != "ngram"
            and (stages == 1 or v2)
        )
    if asynchronous and v2:
        return stages + 1
    return 2 if asynchronous and stages == 1 else stages


def hybrid_manager(shape: ModelShape, settings: EngineSettings) -> bool:
    """Whether local-attention layers get their own groups; chunked local attention turns that off by default."""
    if settings.disable_hybrid_kv_cache_manager is not None:
        return not settings.disable_hybrid_kv_cache_manager
    return not any(cache.kind == "chunked" for layer in shape.layers for cache in layer.caches)


def default_block_size(shape: ModelShape, settings: EngineSettings, gpu: GPUClass) -> int:
    """Tokens per block that the engine's attention backend prefers, before hybrid alignment."""
    if settings.device == "cpu":
        return 16 if shape.uses_mla else 128
    if not shape.uses_mla:
        return 16
    if gpu.compute_capability[0] == 10:
        return 32  # FlashInfer MLA
    return 16  # FlashAttention MLA on Hopper, Triton MLA elsewhere
