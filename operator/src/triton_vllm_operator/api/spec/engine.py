"""`spec.engine`: arguments of the vLLM engine."""

from typing import Any, Literal

from triton_vllm_operator.api.schema import Model, cel, field


class EngineSpec(Model):
    """Arguments of the vLLM engine, by vLLM's names in camelCase."""

    model_config = Model.model_config | {
        "json_schema_extra": cel(
            (
                "!has(self.maxNumBatchedTokens) || !has(self.maxNumSeqs) "
                "|| self.maxNumBatchedTokens >= self.maxNumSeqs",
                "maxNumBatchedTokens must be at least maxNumSeqs: each running sequence needs one token per step",
            ),
        )
    }

    gpu_memory_utilization: float = field(
        0.9,
        gt=0,
        le=1,
        description="Fraction of each GPU's memory that the engine may use, above 0 and at most 1. Default: 0.9.",
    )
    tensor_parallel_size: int | None = field(
        ge=1,
        le=64,
        description="Number of GPUs over which each layer is split. A pod has tensorParallelSize x "
        "pipelineParallelSize GPUs. Default: the smallest number on which the model fits, see status.chosen; 1 if "
        "that is unknown.",
    )
    pipeline_parallel_size: int = field(
        1, ge=1, le=64, description="Number of pipeline stages over which the layers are distributed. Default: 1."
    )
    max_model_len: int | None = field(
        ge=4,
        description="Maximum sequence length in tokens, prompt and output together. Default: the model's own limit, or "
        "the largest that fits, see status.chosen.",
    )
    dtype: Literal["auto", "half", "float16", "bfloat16", "float", "float32"] | None = field(
        description="Data type of weights and activations. Default: auto, the model's own."
    )
    quantization: str | None = field(
        min_length=1,
        max_length=63,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        description="Quantization method, as vLLM names it: awq, gptq or fp8, for example. Default: the model's own.",
    )
    kv_cache_dtype: str | None = field(
        min_length=1,
        max_length=63,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        description="Data type of the KV cache, as vLLM names it: auto or fp8, for example. Default: auto.",
    )
    block_size: int | None = field(ge=1, le=4096, description="Number of tokens per block of the KV cache.")
    max_num_seqs: int | None = field(ge=1, description="Maximum number of sequences per engine step.")
    max_num_batched_tokens: int | None = field(ge=1, description="Maximum number of tokens per engine step.")
    enable_prefix_caching: bool | None = field(
        description="Reuse the KV cache blocks of a common prefix across requests."
    )
    enable_chunked_prefill: bool | None = field(
        description="Split the prefill of long prompts into chunks, batched with the decoding of other requests."
    )
    enforce_eager: bool | None = field(
        description="Run without compilation and CUDA graphs: a faster start and lower throughput. Default: false."
    )
    seed: int | None = field(ge=0, description="Seed of the engine's random number generator.")
    load_format: str | None = field(
        min_length=1,
        max_length=63,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        description="Format of the weights, as vLLM names it: auto or safetensors, for example. Default: auto.",
    )
    extra_args: dict[str, Any] = field(
        {},
        max_length=128,
        description="Other engine arguments, by vLLM's names, for example {enable_log_requests: true}. An argument "
        "that has a field here, or that the operator sets, is rejected.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )
