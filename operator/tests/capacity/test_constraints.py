"""What the engine refuses: each limit from both sides, and every size that a message offers is accepted."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from triton_vllm_operator.capacity import EngineSettings, GPUClass, gpu_of_memory, resolve, shape_from_config
from triton_vllm_operator.capacity.memory.constraints import Refusal, refusal
from triton_vllm_operator.capacity.model.shape import Quantization

from . import samples
from .samples import Config
from .test_layers import EXPERTS, LATENT, MAMBA, small

GPU = gpu_of_memory(80)
LLAMA = small("LlamaForCausalLM", "llama")


def refused(model: Config, gpu: GPUClass = GPU, **settings: Any) -> Refusal | None:
    """What is wrong with these settings."""
    shape, given = shape_from_config(model), EngineSettings(**settings)
    return refusal(shape, given, gpu, resolve(shape, given, gpu))


@pytest.mark.parametrize(
    ("model", "accepted", "rejected", "message"),
    [
        (LLAMA, {"tensor_parallel_size": 1}, {"tensor_parallel_size": 0}, "tensorParallelSize is 0; use 1 or more"),
        (LLAMA, {"pipeline_parallel_size": 1}, {"pipeline_parallel_size": 0},
         "pipelineParallelSize is 0; use 1 or more"),
        (LLAMA, {"max_model_len": 1}, {"max_model_len": 0}, "maxModelLen is 0; use 1 or more"),
        (LLAMA, {"max_num_batched_tokens": 1}, {"max_num_batched_tokens": 0},
         "maxNumBatchedTokens is 0; use 1 or more"),
        (LLAMA, {"max_num_seqs": 1}, {"max_num_seqs": 0}, "maxNumSeqs is 0; use 1 or more"),
        (LLAMA, {"block_size": 1}, {"block_size": 0}, "blockSize is 0; use 1 or more"),
        (LLAMA, {"num_speculative_tokens": 0}, {"num_speculative_tokens": -1},
         "num_speculative_tokens is -1; use 0 or more"),
        (LLAMA, {"kv_cache_memory_bytes": 0}, {"kv_cache_memory_bytes": -1},
         "kv_cache_memory_bytes is -1; use 0 or more"),
        (LLAMA, {"gpu_memory_utilization": 1.0}, {"gpu_memory_utilization": 1.01},
         "gpuMemoryUtilization is 1.01; use a number above 0 and at most 1"),
        (LLAMA, {"gpu_memory_utilization": 0.01}, {"gpu_memory_utilization": 0.0},
         "gpuMemoryUtilization is 0.0; use a number above 0 and at most 1"),
        (LLAMA, {"tensor_parallel_size": 4}, {"tensor_parallel_size": 8},
         "4 attention heads cannot be split over tensorParallelSize 8; use one of 1, 2, 4"),
        ({**LLAMA, "num_attention_heads": 12, "num_key_value_heads": 6, "vocab_size": 129},
         {"tensor_parallel_size": 6}, {"tensor_parallel_size": 4},
         "6 KV heads and tensorParallelSize 4: one must divide the other; use one of 1, 2, 3, 6"),
        ({**LLAMA, "num_attention_heads": 12, "num_key_value_heads": 3, "vocab_size": 129}, {"tensor_parallel_size": 6},
         {"tensor_parallel_size": 4},
         "3 KV heads and tensorParallelSize 4: one must divide the other; use one of 1, 3"),
        ({**LLAMA, "num_attention_heads": 3, "num_key_value_heads": 3, "vocab_size": 129}, {"tensor_parallel_size": 3},
         {"tensor_parallel_size": 6}, "3 attention heads cannot be split over tensorParallelSize 6; use one of 1, 3"),
        ({**LLAMA, "num_attention_heads": 3, "num_key_value_heads": 3, "vocab_size": 65}, {"tensor_parallel_size": 1},
         {"tensor_parallel_size": 3},
         "the padded vocabulary (128) cannot be split over tensorParallelSize 3; use one of 1, 2, 4, 8, 16, 32, 64"),
        ({**LLAMA, "intermediate_size": 98}, {"tensor_parallel_size": 2}, {"tensor_parallel_size": 4},
         "the feed-forward width 98 cannot be split over tensorParallelSize 4; use one of 1, 2, 7, 14, 49"),
        (LLAMA, {"pipeline_parallel_size": 4}, {"pipeline_parallel_size": 5},
         "pipelineParallelSize 5 is more than the 4 layers"),
        ({**LLAMA, **EXPERTS}, {"enable_expert_parallel": True}, {"tensor_parallel_size": 16},
         "4 attention heads cannot be split over tensorParallelSize 16; use one of 1, 2, 4"),
        ({**LLAMA, "num_attention_heads": 64, "num_key_value_heads": 64, "head_dim": 16},
         {"tensor_parallel_size": 32}, {"enable_expert_parallel": True},
         "LlamaForCausalLM has no experts; remove enableExpertParallel"),
        (LLAMA, {"max_model_len": 1024}, {"max_model_len": 1025},
         "maxModelLen 1025 is longer than the model's 1024; use maxModelLen 1024 or less"),
        (LLAMA, {"max_num_seqs": 8, "max_num_batched_tokens": 8}, {"max_num_seqs": 9, "max_num_batched_tokens": 8},
         "maxNumBatchedTokens 8 is less than maxNumSeqs 9: each running sequence needs one token per step; use "
         "maxNumSeqs 8 or less"),
        (LLAMA, {"dtype": "float32"}, {"dtype": "int8"},
         "dtype 'int8' is not one of auto, bfloat16, float16, float32"),
        (LLAMA, {"mamba_ssm_cache_dtype": "float32"}, {"mamba_ssm_cache_dtype": "int8"},
         "mambaSsmCacheDtype 'int8' is not one of auto, bfloat16, float16, float32"),
        (LLAMA, {"kv_cache_dtype": "fp8"}, {"kv_cache_dtype": "fp8_ds_mla"},
         "the planner has no size for kvCacheDtype 'fp8_ds_mla'; use auto, bfloat16, float16 or fp8"),
        (small("DeepseekV2ForCausalLM", "deepseek_v2", **LATENT), {"kv_cache_dtype": "fp8_ds_mla"},
         {"kv_cache_dtype": "int3"},
         "the planner has no size for kvCacheDtype 'int3'; use auto, bfloat16, float16 or fp8"),
        (LLAMA, {"quantization": "gptq", "dtype": "half"}, {"quantization": "gguf", "engine_version": "0.32.0"},
         "vLLM 0.32.0 no longer has gguf; use an AWQ, GPTQ or FP8 checkpoint"),
    ],
)  # fmt: skip
def test_each_limit_from_both_sides(
    model: Config, accepted: dict[str, Any], rejected: dict[str, Any], message: str
) -> None:
    assert refused(model, **accepted) is None
    found = refused(model, **rejected)
    assert found is not None
    assert found.message == message


@pytest.mark.parametrize(
    "model",
    [
        samples.LLAMA_31_8B,
        {**samples.LLAMA_31_8B, "num_attention_heads": 40, "num_key_value_heads": 10, "head_dim": 128},
        {**samples.QWEN25_32B, "intermediate_size": 9 * 128},
        samples.MAMBA2,
    ],
)
def test_the_sizes_that_a_message_offers_are_those_without_its_reason(model: Config) -> None:
    reasons = {size: refused(model, tensor_parallel_size=size) for size in range(1, 65)}
    offering = {size: found for size, found in reasons.items() if found and "use one of" in found.message}
    assert offering
    for size, found in offering.items():
        offered = [int(number) for number in re.findall(r"\d+", found.message.partition("use one of")[2])]
        assert size not in offered
        others = [reasons[one] for one in offered]
        assert all(other is None or other.reason != found.reason for other in others)


def test_a_latent_cache_and_a_model_without_attention_have_no_kv_heads_to_split() -> None:
    latent = small("DeepseekV2ForCausalLM", "deepseek_v2", num_attention_heads=8, num_key_value_heads=3, **LATENT)
    assert refused(latent, tensor_parallel_size=4) is None
    assert refused(small("LlamaForCausalLM", "llama", num_attention_heads=8, num_key_value_heads=3),
                   tensor_parallel_size=4) is not None  # fmt: skip


@pytest.mark.parametrize(("groups", "size", "refuses"), [(1, 8, False), (4, 4, False), (4, 8, True), (6, 4, True)])
def test_groups_of_a_state_are_split_evenly_unless_there_is_one(groups: int, size: int, refuses: bool) -> None:
    model = small("Mamba2ForCausalLM", "mamba2", n_groups=groups, num_attention_heads=0, **MAMBA)
    found = refused(model, tensor_parallel_size=size)
    assert (found is not None) is refuses
    if found is not None:
        offered = ", ".join(str(one) for one in range(1, groups + 1) if groups % one == 0)
        expected = f"{groups} state groups cannot be split over tensorParallelSize {size}; use one of {offered}"
        assert (found.reason, found.message) == ("TensorParallelStateGroups", expected)


@pytest.mark.parametrize(
    ("quantization", "size", "group"),
    [
        (Quantization("awq", 4, 32), 1, 0),
        (Quantization("awq", 4, 48), 2, 0),
        (Quantization("awq", 4, 32), 2, 32),
        (Quantization("fp8", 8, 0, (16, 32)), 2, 32),
        (Quantization("fp8", 8, 0, (32, 0)), 2, 32),
        (Quantization("fp8", 8, 0), 2, 0),
        (Quantization("fp8", 8, 48, (32, 32)), 2, 0),
    ],
)
def test_a_rank_holds_whole_groups_of_a_quantization(quantization: Quantization, size: int, group: int) -> None:
    shape = replace(shape_from_config(LLAMA), quantization=quantization)
    settings = EngineSettings(tensor_parallel_size=size)
    found = refusal(shape, settings, GPU, resolve(shape, settings, GPU))
    expected = (
        f"tensorParallelSize {size} leaves {96 // size} inputs per GPU, which the {quantization.method} group of "
        f"{group} does not divide; use a smaller tensorParallelSize or enableExpertParallel for experts"
    )
    assert (found.message if found else "") == (expected if group else "")


def test_whole_experts_need_no_split() -> None:
    model = {**LLAMA, **EXPERTS, "moe_intermediate_size": 25}
    found = refused(model, tensor_parallel_size=2)
    assert found is not None
    assert found.message == "the feed-forward width 25 cannot be split over tensorParallelSize 2; use one of 1, 5, 25"
    assert refused(model, tensor_parallel_size=2, enable_expert_parallel=True) is None


def test_a_class_with_one_expert_per_rank_names_the_largest_size() -> None:
    model = small("Qwen3MoeForCausalLM", "qwen3_moe", num_attention_heads=16, num_key_value_heads=16, **EXPERTS)
    assert refused(model, tensor_parallel_size=8) is None
    found = refused({**model, "moe_intermediate_size": 32}, tensor_parallel_size=16)
    assert found is not None
    assert found.message == (
        "tensorParallelSize 16 is more than the 8 experts, which Qwen3MoeForCausalLM refuses; use tensorParallelSize 8 "
        "or less"
    )


def test_a_class_without_pipelines_says_so() -> None:
    shape = replace(shape_from_config(LLAMA), pipeline_parallel=False)
    found = [refusal(shape, settings, GPU, resolve(shape, settings, GPU))
             for settings in (EngineSettings(), EngineSettings(pipeline_parallel_size=2))]  # fmt: skip
    assert found[0] is None
    assert found[1] == Refusal(found[1].reason, "LlamaForCausalLM does not support pipelineParallelSize > 1")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("capability", "settings", "message"),
    [
        ((8, 0), {"dtype": "bfloat16"}, ""),
        ((7, 5), {"dtype": "half"}, ""),
        ((7, 5), {"dtype": "bfloat16", "device": "cpu"}, ""),
        ((7, 5), {"dtype": "bfloat16"}, "{gpu} (compute capability 7.5) has no bfloat16; use dtype: half"),
        ((7, 0), {"dtype": "half", "quantization": "awq", "device": "cpu"}, ""),
        ((7, 0), {"dtype": "half", "quantization": "awq"},
         "awq needs GPUs of compute capability 7.5 or higher; {gpu} has 7.0: use such GPUs or a model of another "
         "quantization"),
    ],
)  # fmt: skip
def test_what_a_gpu_lacks_is_named(capability: tuple[int, int], settings: dict[str, Any], message: str) -> None:
    gpu = gpu_of_memory(80, capability)
    found = refused(LLAMA, gpu, engine_version="0.32.0", **settings)
    assert (found.message if found else "") == message.format(gpu=gpu.product)
