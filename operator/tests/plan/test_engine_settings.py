"""The `engine` block of a spec becomes the planner's settings: every argument that moves the plan."""

from __future__ import annotations

from typing import Any

import pytest

from triton_vllm_operator.api.spec import EngineSpec
from triton_vllm_operator.capacity import EngineSettings, ShapeError
from triton_vllm_operator.plan.engine_settings import engine_settings


def sized(**fields: Any) -> EngineSettings:
    """The settings of an `engine` block."""
    return engine_settings(EngineSpec.model_validate(fields), "0.32.0")


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({}, "gpu_memory_utilization", 0.9),
        ({}, "kv_cache_dtype", "auto"),
        ({}, "max_model_len", None),
        ({"tensorParallelSize": 4}, "tensor_parallel_size", 4),
        ({"pipelineParallelSize": 2}, "pipeline_parallel_size", 2),
        ({"maxModelLen": 8192}, "max_model_len", 8192),
        ({"gpuMemoryUtilization": 0.5}, "gpu_memory_utilization", 0.5),
        ({"maxNumBatchedTokens": 512}, "max_num_batched_tokens", 512),
        ({"maxNumSeqs": 7}, "max_num_seqs", 7),
        ({"blockSize": 32}, "block_size", 32),
        ({"kvCacheDtype": "fp8"}, "kv_cache_dtype", "fp8"),
        ({"dtype": "half"}, "dtype", "half"),
        ({"quantization": "awq"}, "quantization", "awq"),
        ({"enforceEager": True}, "enforce_eager", True),
        ({"enablePrefixCaching": False}, "enable_prefix_caching", False),
        ({"extraArgs": {"enable_expert_parallel": True}}, "enable_expert_parallel", True),
        ({"extraArgs": {"kv_cache_memory_bytes": 1000}}, "kv_cache_memory_bytes", 1000),
        ({"extraArgs": {"mamba_ssm_cache_dtype": "float32"}}, "mamba_ssm_cache_dtype", "float32"),
        ({"extraArgs": {"speculative_config": {"method": "deepseek_mtp"}}}, "speculation", "mtp"),
        ({"extraArgs": {"speculative_config": {"method": "ngram", "num_speculative_tokens": 3}}},
         "num_speculative_tokens", 3),
        ({"extraArgs": {"speculative_config": {"method": "eagle3"}}}, "draft_attention_layers", 1),
        ({"extraArgs": {"speculative_config": {"model": "small"}}}, "speculation", "draft_model"),
        ({"extraArgs": {"enable_log_requests": True}}, "speculation", "none"),
        ({"extraArgs": {"kv_offloading_size": 64}}, "kv_offload_gib", 64.0),
        ({"extraArgs": {"mm_processor_cache_gb": 0}}, "mm_processor_cache_gb", 0.0),
        ({"extraArgs": {"mm_processor_cache_type": "shm"}}, "mm_cache_in_shm", True),
        ({"extraArgs": {"safetensors_load_strategy": "eager"}}, "loads_eagerly", True),
        ({"extraArgs": {"kv_cache_memory_bytes": None}}, "kv_cache_memory_bytes", None),
        ({"extraArgs": {"max_cudagraph_capture_size": 64}}, "max_cudagraph_capture_size", 64),
        ({"extraArgs": {"compilation_config": {"max_cudagraph_capture_size": 32}}}, "max_cudagraph_capture_size", 32),
    ],
)  # fmt: skip
def test_a_field_reaches_the_planner(fields: dict[str, Any], name: str, value: object) -> None:
    assert getattr(sized(**fields), name) == value


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({"kv_cache_memory_bytes": "8GiB"}, "an integer"),
        ({"kv_cache_memory_bytes": True}, "an integer"),
        ({"kv_cache_memory_bytes": -1}, "greater than 0"),
        ({"kv_offloading_size": -1}, "a number of GiB"),
        ({"mm_processor_cache_gb": True}, "a number of GiB"),
        ({"enable_expert_parallel": "yes"}, "true or false"),
        ({"speculative_config": "mtp"}, "object"),
        ({"speculative_config": {"method": "psychic"}}, "psychic"),
        ({"speculative_config": {"method": "mtp", "num_speculative_tokens": 0}}, "num_speculative_tokens"),
    ],
)
def test_an_argument_of_the_wrong_type_is_refused(extra: dict[str, Any], expected: str) -> None:
    with pytest.raises(ShapeError) as caught:
        sized(extraArgs=extra)
    assert caught.value.reason == "EngineArgumentInvalid"
    assert expected in str(caught.value)
