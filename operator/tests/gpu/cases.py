"""Which engines are started on a GPU: chosen for what the planner does not know exactly."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Settings = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """One start. `settings` are vLLM engine arguments; `runner` forces a model runner; `graphs` captures graphs.

    `warm_after` names the case whose compile cache this one finds; other cases start with an empty one.
    """

    name: str
    model: str
    settings: Settings = field(default_factory=dict)
    runner: Literal["", "v1", "v2"] = ""
    graphs: bool = False
    warm_after: str = ""
    set: str = "main"

    def engine_arguments(self) -> Settings:
        """Arguments for the engine."""
        return dict(self.settings)


_LLAMA, _MOE, _LATENT = "llama-3.1-8b", "qwen3-30b-a3b, 16 layers", "deepseek-v2-lite"
_HYBRID = "qwen3-next, 24 layers, 128 experts"
_SMALL: Settings = {"max_num_batched_tokens": 2048, "max_num_seqs": 256}
_EAGER: Settings = {"enforce_eager": True}
_EDGE: Settings = {"max_model_len": 8192}
_PLAIN_REDUCE: Settings = {"compilation_config": {"pass_config": {"fuse_allreduce_rms": False}}}


def _families() -> tuple[Case, ...]:
    return (
        # one dense model: both runners, every setting that moves a term
        Case("llama", _LLAMA, graphs=True),
        Case("llama-v1", _LLAMA, runner="v1", graphs=True),
        Case("llama-eager", _LLAMA, _EAGER),
        Case("llama-v1-eager", _LLAMA, _EAGER, "v1"),
        Case("llama-small", _LLAMA, _SMALL, graphs=True),
        Case("llama-v1-small", _LLAMA, _SMALL, "v1", graphs=True),
        # mixture of experts, MLA, hybrid: one of each
        Case("qwen3-moe", "qwen3-30b-a3b", {"max_model_len": 32768}, graphs=True),
        Case("deepseek-lite", _LATENT, graphs=True),
        Case("mixtral", "mixtral-8x7b, 16 layers", graphs=True),
        Case("gpt-oss", "gpt-oss-20b", graphs=True),
        Case("qwen3-next", _HYBRID, graphs=True),
        Case("gemma-3-27b", "gemma-3-27b", graphs=True),
        Case("qwen3", "qwen3-8b"),
        Case("qwen2.5-7b", "qwen2.5-7b"),
        # widths, vocabularies, tied tables, quantized layers
        Case("llama-1b", "llama-3.2-1b"),
        Case("qwen2.5-0.5b", "qwen2.5-0.5b"),
        Case("llama-70b-wide", "llama-3.3-70b, 12 layers"),
        Case("llama-70b-fp8", "llama-3.3-70b fp8", {"max_model_len": 8192}),
        Case("mistral", "mistral-7b"),
        Case("phi-4", "phi-4"),
        # no compiler: the forward pass and the sampler alone
        Case("deepseek-lite-eager", _LATENT, _EAGER),
        Case("llama-32k-eager", _LLAMA, {**_EAGER, "max_num_batched_tokens": 32768}),
        Case("llama-small-eager", _LLAMA, {**_SMALL, **_EAGER}),
        Case("gemma-2-eager", "gemma-2-9b", _EAGER),
        Case("qwen2.5-32b-awq", "qwen2.5-32b awq", _EAGER),
        Case("qwen3-fp8-blocks", "qwen3-8b fp8 blocks", _EAGER),
        Case("qwen3-moe-eager", _MOE, _EAGER),
        Case("mixtral-small", "mixtral-8x7b, 16 layers", {**_SMALL, **_EAGER}),
        Case("gpt-oss-small", "gpt-oss-20b", {**_SMALL, **_EAGER}),
        Case("deepseek-lite-v1", _LATENT, _EAGER, "v1"),
        Case("qwen3-moe-fp8", "qwen3-30b-a3b fp8 blocks", _EAGER),
        Case("mamba", "mamba-codestral-7b", {"max_num_seqs": 256, **_EAGER}),
        Case("deepseek-v3", "deepseek-v3, 6 layers", {"max_model_len": 32768, **_EAGER}),
    )


def _settings() -> tuple[Case, ...]:
    return (
        # small batches and other families, compiled
        Case("qwen1.5-moe", "qwen1.5-moe-a2.7b"),
        Case("deepseek-lite-small", _LATENT, _SMALL),
        Case("llama-fp8", "llama-3.1-8b fp8"),
        Case("qwen3-moe-small", _MOE, _SMALL),
        Case(
            "qwen3-next-small",
            _HYBRID,
            {**_SMALL, "enable_prefix_caching": True, "additional_config": {"gdn_prefill_backend": "triton"}},
        ),
        Case("llama-8-layers-v1", "llama-3.1-8b, 8 layers", runner="v1"),
        Case("llama-64-layers-v1", "llama-3.1-8b, 64 layers", runner="v1"),
        Case("llama-v1-16-seqs", _LLAMA, {"max_num_seqs": 16}, "v1"),
        Case("qwen2.5-7b-v1", "qwen2.5-7b", runner="v1"),
        Case("llama-16k", _LLAMA, {"max_num_batched_tokens": 16384}),
        Case("llama-kv-fp8", _LLAMA, {"kv_cache_dtype": "fp8"}),
        Case("llama-warm", _LLAMA, warm_after="llama"),
        Case("gemma-2", "gemma-2-9b"),
        Case("gemma-3-1b", "gemma-3-1b"),
        # at the edge: room for one request or not, and starts that the engine refuses
        Case("edge-below", _LLAMA, {**_EAGER, **_EDGE, "gpu_memory_utilization": 0.214}),
        Case("edge-above", _LLAMA, {**_EAGER, **_EDGE, "gpu_memory_utilization": 0.218}),
        Case("edge-v1", _LLAMA, {**_EAGER, **_EDGE, "gpu_memory_utilization": 0.228}, "v1"),
        Case("no-memory", _LLAMA, {**_EAGER, **_EDGE, "gpu_memory_utilization": 0.18}),
        Case("no-context", _LLAMA, {**_EAGER, **_EDGE, "gpu_memory_utilization": 0.999}),
        Case("too-long", _LLAMA, {**_EAGER, "gpu_memory_utilization": 0.3}),
        # two GPUs; the fused all-reduce is off, so its workspace is not in the figures
        Case("llama-tp2", _LLAMA, {"tensor_parallel_size": 2, **_EAGER, **_PLAIN_REDUCE}, set="two"),
        Case("llama-pp2", _LLAMA, {"pipeline_parallel_size": 2, **_EAGER}, set="two"),
    )


CASES = (*_families(), *_settings())
