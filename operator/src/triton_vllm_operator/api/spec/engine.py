"""`spec.engine`: arguments of the vLLM engine."""

from typing import Any, Literal

from triton_vllm_operator.api.schema import Model, cel, field


class EngineSpec(Model):
    """Arguments of the vLLM engine. Absent means vLLM's own default, unless a field says otherwise."""

    model_config = Model.model_config | {
        "json_schema_extra": cel(
            (
                "!has(self.maxNumBatchedTokens) || !has(self.maxNumSeqs) "
                "|| self.maxNumBatchedTokens >= self.maxNumSeqs",
                "maxNumBatchedTokens must be at least maxNumSeqs: each running sequence needs one token a step",
            ),
        )
    }

    gpu_memory_utilization: float = field(
        0.9,
        gt=0,
        le=1,
        description="Part of each GPU's memory that the engine may use, above 0 and at most 1.",
    )
    tensor_parallel_size: int | None = field(
        ge=1,
        le=64,
        description="GPUs over which each layer is split. A pod holds tensorParallelSize x pipelineParallelSize GPUs. "
        "Default: the fewest on which the model fits, see status.chosen; 1 where that is not known.",
    )
    pipeline_parallel_size: int = field(
        1, ge=1, le=64, description="Groups of GPUs over which the layers are spread, one after the other."
    )
    max_model_len: int | None = field(
        ge=1,
        description="Longest sequence in tokens, prompt and answer together. Default: the model's own limit, or the "
        "longest that fits, see status.chosen.",
    )
    dtype: Literal["auto", "half", "float16", "bfloat16", "float", "float32"] | None = field(
        description="Data type of weights and activations."
    )
    quantization: str | None = field(
        min_length=1,
        max_length=63,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        description="Quantization method by vLLM's name, for example awq, gptq or fp8. Default: the model's own.",
    )
    kv_cache_dtype: str | None = field(
        min_length=1,
        max_length=63,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        description="Data type of the KV cache by vLLM's name, for example auto or fp8.",
    )
    block_size: int | None = field(ge=1, le=4096, description="Tokens in one block of the KV cache.")
    max_num_seqs: int | None = field(ge=1, description="Most sequences in one step of the engine.")
    max_num_batched_tokens: int | None = field(ge=1, description="Most tokens in one step of the engine.")
    enable_prefix_caching: bool | None = field(
        description="Whether requests that start with the same tokens share KV cache blocks."
    )
    enable_chunked_prefill: bool | None = field(
        description="Whether a long prompt is computed in parts between steps of other requests."
    )
    enforce_eager: bool | None = field(
        description="True starts faster and runs without compilation and CUDA graphs, at lower speed."
    )
    seed: int | None = field(ge=0, description="Seed of the random numbers used in sampling.")
    load_format: str | None = field(
        min_length=1,
        max_length=63,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        description="How weights are read, by vLLM's name, for example auto or safetensors.",
    )
    extra_args: dict[str, Any] = field(
        {},
        max_length=128,
        description="Any other engine argument by vLLM's own name, for example {enable_log_requests: true}. "
        "An argument that has a field of its own here is refused.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )
