"""What a plan says: each sentence whole, with the numbers of the plan in it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from triton_vllm_operator.capacity import (
    EngineSettings,
    GPUClass,
    gpu_by_product,
    gpu_of_memory,
    plan,
    shape_from_config,
    with_suggestions,
)
from triton_vllm_operator.capacity.memory.fit_checks import fitting_sequences

from . import samples
from .samples import Config

LLAMA = samples.LLAMA_31_8B
G = r"(\d+\.\d\d)"
"""A number of GiB, or of requests."""
EAGLE = {"speculation": "eagle", "num_speculative_tokens": 2, "draft_attention_layers": 1}


@pytest.mark.parametrize(
    ("config", "gib", "settings", "message"),
    [
        (LLAMA, 80, {}, rf"(\d+) tokens of KV cache: {G} requests of 131072 tokens at once before queueing"),
        (samples.QWEN25_7B, 24, {"gpu_memory_utilization": 0.999},
         rf"the engine asks for 23\.98 of 24\.00 GiB, but the CUDA context needs about {G} GiB beside it; use "
         r"gpuMemoryUtilization 0\.97 or less"),
        (samples.QWEN25_7B, 0.25, {},
         rf"the engine asks for 0\.23 of 0\.25 GiB, but the CUDA context needs about {G} GiB beside it; use a larger "
         "GPU"),
        (samples.LLAMA_33_70B, 80, {},
         rf"weights and start-up peak leave no memory for the KV cache \({G} GiB short of 73\.60\); use more GPUs "
         r"\(tensorParallelSize\), a quantized variant or a larger GPU"),
        (LLAMA, 24, {},
         rf"one request of 131072 tokens needs 16\.00 GiB of KV cache and at most {G} GiB are left; maxModelLen (\d+) "
         "would fit at best"),
        (samples.QWEN38_27B, 94.97, {"gpu_memory_utilization": 0.9, "max_model_len": 8192, "engine_version": "0.29.0"},
         r"the model keeps one state block per request: maxNumSeqs 1024 is more than the (\d+) blocks there are; use "
         r"maxNumSeqs (\d+) or less"),
        (LLAMA, 80, EAGLE,
         "it fits without the weights of the eagle model, whose size is not known here; compare them with the KV cache "
         "that is left"),
        (samples.QWEN25_7B_AWQ, 24, {},
         r"it fits by the weights that follow from config\.json, but the layout of quantized weights is not in it; the "
         "safetensors headers of the checkpoint settle it"),
    ],
)  # fmt: skip
def test_each_verdict_says_what_decides_it(config: Config, gib: float, settings: dict[str, Any], message: str) -> None:
    answer = plan(shape_from_config(config), EngineSettings(**settings), gpu_of_memory(gib))
    assert re.fullmatch(message, answer.message), answer.message


def test_what_the_overhead_decides_is_given_with_both_ends() -> None:
    roomy = plan(shape_from_config(LLAMA), EngineSettings(), gpu_of_memory(24))
    length = roomy.kv_low.estimated_max_len + 64
    answer = plan(shape_from_config(LLAMA), EngineSettings(max_model_len=length), gpu_of_memory(24))
    found = re.fullmatch(
        rf"one request of {length} tokens fits only if the engine's start-up peak stays small: the KV cache gets {G} "
        rf"to {G} GiB and needs {G}; a lower maxModelLen or maxNumBatchedTokens settles it", answer.message,
    )  # fmt: skip
    assert found, answer.message
    low, high, needed = map(float, found.groups())
    assert low <= needed <= high


@pytest.mark.parametrize(("blocks", "sequences"), [(0, 1), (1, 1), (10, 9), (652, 586)])
def test_a_tenth_of_the_state_blocks_is_left(blocks: int, sequences: int) -> None:
    assert fitting_sequences(blocks) == sequences


L4 = gpu_by_product("NVIDIA-L4")
H100 = replace(gpu_by_product("NVIDIA-H100-80GB-HBM3"), count=8, per_node=8)


def suggested(config: Config, gpu: GPUClass, cluster: list[GPUClass], **settings: Any) -> list[tuple[str, str]]:
    """First field and message of each suggestion."""
    found = with_suggestions(shape_from_config(config), EngineSettings(**settings), gpu, cluster).suggestions
    assert all(one.verdict == "Fits" and one.concurrency >= 1 for one in found)
    return [(one.changes[0][0], one.message) for one in found]


@pytest.mark.parametrize(
    ("config", "gpu", "cluster", "settings", "expected"),
    [
        (LLAMA, L4, [H100], {}, [
            ("engine.maxModelLen", "set engine.maxModelLen: {}"),
            ("engine.tensorParallelSize", "set engine.tensorParallelSize: 2 (2 GPUs per replica)"),
            ("resources.gpu.product", "set resources.gpu.product: NVIDIA-H100-80GB-HBM3"),
        ]),
        (LLAMA, replace(H100, per_node=2), [], {"tensor_parallel_size": 3}, [
            ("engine.tensorParallelSize", "set engine.tensorParallelSize: 2 (2 GPUs per replica)"),
        ]),
        (LLAMA, gpu_of_memory(40), [], {"gpu_memory_utilization": 0.999}, [
            ("engine.gpuMemoryUtilization", "set engine.gpuMemoryUtilization: {}"),
        ]),
        (samples.QWEN38_27B, gpu_of_memory(94.97), [], {"engine_version": "0.29.0", "max_model_len": 8192}, [
            ("engine.maxNumSeqs", "set engine.maxNumSeqs: {}"),
            ("engine.maxNumBatchedTokens", "set engine.maxNumBatchedTokens: {} and engine.maxNumSeqs: {}"),
        ]),
    ],
)  # fmt: skip
def test_each_suggestion_says_what_to_set(
    config: Config, gpu: GPUClass, cluster: list[GPUClass], settings: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    found = dict(suggested(config, gpu, cluster, **settings))
    for field, message in expected:
        pattern = re.escape(message).replace(r"\{\}", r"[\d.]+")
        assert re.fullmatch(pattern, found[field]), found


def test_a_cache_and_weights_in_fp8_are_offered_by_their_effect() -> None:
    length = plan(shape_from_config(LLAMA), EngineSettings(), H100).resolved.max_model_len
    small = replace(gpu_of_memory(30, (9, 0)), per_node=1)
    found = dict(suggested(LLAMA, small, [], max_model_len=length))
    assert found.get("engine.kvCacheDtype") == "set engine.kvCacheDtype: fp8 (half the cache per token)"
    large = shape_from_config(samples.QWEN25_32B)
    answer = with_suggestions(large, EngineSettings(max_model_len=2048), replace(gpu_of_memory(60, (9, 0)), per_node=1))
    messages = {one.changes: one.message for one in answer.suggestions}
    assert messages[("model.variant", "fp8"),] == "use an FP8 variant of the model (half the weights)"
