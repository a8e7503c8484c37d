"""The verdict: what fits, what is decided by the overhead, what does not, and what the plan says about it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.capacity.results import kv_high
from triton_vllm_operator.capacity import (
    EngineSettings,
    Plan,
    gpu_by_product,
    gpu_of_memory,
    plan,
    shape_from_config,
)
from triton_vllm_operator.capacity.memory.overhead import baseline
from triton_vllm_operator.capacity.model.shape import CacheShape

from . import samples
from .samples import Config

GIB = 2**30
LLAMA = shape_from_config(samples.LLAMA_31_8B)


def planned(config: Config, memory_gib: float, **settings: object) -> Plan:
    """The plan on a card of `memory_gib`."""
    return plan(shape_from_config(config), EngineSettings(**settings), gpu_of_memory(memory_gib))  # type: ignore[arg-type]


def test_a_model_with_room_fits() -> None:
    answer = planned(samples.LLAMA_31_8B, 80)
    assert (answer.verdict, answer.reason) == ("Fits", "Fits")
    assert answer.kv_low.fits_one_request
    assert f"{answer.kv.tokens} tokens" in answer.message


def test_weights_larger_than_the_card_do_not_fit() -> None:
    answer = planned(samples.LLAMA_33_70B, 80)
    assert (answer.verdict, answer.reason) == ("DoesNotFit", "NoKVCacheMemory")
    assert "tensorParallelSize" in answer.message


def test_a_cache_smaller_than_one_request_does_not_fit_and_names_the_length_that_would() -> None:
    answer = planned(samples.LLAMA_31_8B, 24)
    assert (answer.verdict, answer.reason) == ("DoesNotFit", "KVCacheTooSmall")
    assert f"maxModelLen {kv_high(answer).estimated_max_len}" in answer.message


def test_what_the_overhead_decides_is_tight_and_says_what_settles_it() -> None:
    roomy = planned(samples.LLAMA_31_8B, 24)
    length = (roomy.kv_low.estimated_max_len + kv_high(roomy).estimated_max_len) // 2
    answer = planned(samples.LLAMA_31_8B, 24, max_model_len=length)
    assert (answer.verdict, answer.reason) == ("Tight", "DecidedByOverhead")
    assert "maxModelLen" in answer.message
    settled = planned(samples.LLAMA_31_8B, 24, max_model_len=roomy.kv_low.estimated_max_len - 16)
    assert settled.verdict == "Fits"


def test_utilization_must_leave_room_for_the_context_beside_it() -> None:
    assert planned(samples.QWEN25_7B, 24, gpu_memory_utilization=0.999).reason == "UtilizationTooHigh"
    assert planned(samples.QWEN25_7B, 24, gpu_memory_utilization=0.999).verdict == "DoesNotFit"
    one, two = baseline(EngineSettings()), baseline(EngineSettings(tensor_parallel_size=2))
    beside = (one.low + one.high) / 2**31
    assert planned(samples.QWEN25_7B, 24, gpu_memory_utilization=1 - beside / 24).verdict == "Tight"
    beside = (one.high + two.high) / 2**31
    share = {"gpu_memory_utilization": 1 - beside / 24}
    assert planned(samples.QWEN25_7B, 24, **share).verdict == "Fits"
    assert planned(samples.QWEN25_7B, 24, tensor_parallel_size=2, **share).reason == "UtilizationTooHigh"


def test_a_card_smaller_than_the_context_is_told_as_too_small() -> None:
    answer = planned(samples.QWEN25_7B, 0.25)
    assert answer.verdict == "DoesNotFit"
    assert answer.message.endswith("use a larger GPU")


def test_weights_known_only_from_config_are_never_promised() -> None:
    answer = planned(samples.QWEN25_7B_AWQ, 24)
    assert (answer.verdict, answer.reason) == ("Tight", "WeightsEstimated")
    assert "safetensors" in answer.message


def test_state_models_need_a_block_for_each_sequence() -> None:
    # F14's author: the default of 1,024 sequences was refused with 652 blocks
    answer = planned(samples.QWEN38_27B, 94.97, engine_version="0.29.0", gpu_memory_utilization=0.9, max_model_len=8192)
    assert (answer.verdict, answer.reason) == ("DoesNotFit", "TooFewStateBlocks")
    assert planned(
        samples.QWEN38_27B, 94.97, engine_version="0.29.0", gpu_memory_utilization=0.9, max_model_len=8192,
        max_num_seqs=256,
    ).verdict == "Fits"  # fmt: skip


def test_a_given_cache_size_is_taken_exactly() -> None:
    answer = planned(samples.LLAMA_31_8B, 80, kv_cache_memory_bytes=20 * GIB)
    assert answer.kv_bytes.low == answer.kv_bytes.high == 20 * GIB
    assert answer.kv_low == answer.kv == kv_high(answer)


def test_terms_add_up_to_what_is_requested() -> None:
    answer = plan(LLAMA, EngineSettings(), gpu_by_product("NVIDIA-H200"))
    spent = answer.weights_bytes + answer.overhead.total.expected + answer.kv_bytes.expected
    assert spent == answer.requested_bytes
    assert answer.kv_bytes.low <= answer.kv_bytes.expected <= answer.kv_bytes.high


def test_the_json_form_is_the_status() -> None:
    body = plan(LLAMA, EngineSettings(tensor_parallel_size=2), gpu_by_product("NVIDIA-L40S")).to_json()
    assert {
        "verdict", "reason", "message", "engineVersion", "gpusPerReplica", "perGPU", "blockSize", "blocks",
        "kvCacheTokens", "maxModelLen", "concurrencyAtMaxModelLen", "suggestions",
    } <= set(body)  # fmt: skip
    assert {
        "totalBytes", "requestedBytes", "weightsBytes", "nonTorchBytes", "activationBytes", "cudaGraphBytes",
        "kvCacheBytes",
    } == set(body["perGPU"])  # fmt: skip
    for term in ("nonTorchBytes", "activationBytes", "cudaGraphBytes", "kvCacheBytes"):
        assert list(body["perGPU"][term]) == ["low", "expected", "high"]
    assert body["gpusPerReplica"] == 2


@pytest.mark.parametrize(
    ("config", "settings", "reason"),
    [
        (samples.LLAMA_31_8B, {"tensor_parallel_size": 3}, "TensorParallelHeads"),
        (samples.QWEN25_32B, {"tensor_parallel_size": 5}, "TensorParallelKVHeads"),
        (samples.MAMBA2, {"tensor_parallel_size": 3}, "TensorParallelVocabulary"),
        (samples.MAMBA2, {"tensor_parallel_size": 16}, "TensorParallelStateGroups"),
        ({**samples.QWEN25_7B_AWQ, "intermediate_size": 18944}, {"tensor_parallel_size": 4}, ""),
        ({**samples.QWEN25_7B_AWQ, "intermediate_size": 9024}, {"tensor_parallel_size": 4}, "QuantizationGroupSplit"),
        ({**samples.LLAMA_31_8B, "intermediate_size": 14338}, {"tensor_parallel_size": 4}, "TensorParallelWidth"),
        (samples.LLAMA_31_8B, {"pipeline_parallel_size": 40}, "PipelineParallelTooLarge"),
        (samples.LLAMA_31_8B, {"enable_expert_parallel": True}, "NoExperts"),
        (samples.LLAMA_31_8B, {"max_model_len": 200000}, "MaxModelLenTooLong"),
        (samples.LLAMA_31_8B, {"max_num_seqs": 64, "max_num_batched_tokens": 32}, "BatchSmallerThanSequences"),
        (samples.LLAMA_31_8B, {"dtype": "int8"}, "DtypeUnknown"),
        (samples.LLAMA_31_8B, {"tensor_parallel_size": 0}, "SettingOutOfRange"),
        (samples.LLAMA_31_8B, {"pipeline_parallel_size": -1}, "SettingOutOfRange"),
        (samples.LLAMA_31_8B, {"block_size": -16}, "SettingOutOfRange"),
        (samples.LLAMA_31_8B, {"num_speculative_tokens": -1}, "SettingOutOfRange"),
        (samples.LLAMA_31_8B, {"gpu_memory_utilization": 1.5}, "SettingOutOfRange"),
        (samples.LLAMA_31_8B, {"gpu_memory_utilization": -0.5}, "SettingOutOfRange"),
        (samples.LLAMA_31_8B, {"mamba_ssm_cache_dtype": "fp4"}, "DtypeUnknown"),
        (samples.LLAMA_31_8B, {"kv_cache_dtype": "int3"}, "KVCacheDtypeUnknown"),
        (samples.LLAMA_31_8B, {"quantization": "gguf", "engine_version": "0.32.0"}, "QuantizationRemoved"),
        (samples.LLAMA_31_8B, {"quantization": "fp_quant"}, "QuantizationNotOnGpu"),
    ],
)
def test_what_the_engine_would_refuse_is_refused_first(
    config: Config, settings: dict[str, object], reason: str
) -> None:
    answer = planned(config, 80, **settings)
    if not reason:
        assert answer.verdict != "DoesNotFit"
        return
    assert (answer.verdict, answer.reason) == ("DoesNotFit", reason)
    assert answer.weights_bytes == 0


def test_a_class_that_wants_an_expert_on_each_rank_is_known() -> None:
    moe = samples.decoder("Qwen3MoeForCausalLM", "qwen3_moe", 2048, 6144, 4, 32, 4, 151936, 40960, head_dim=128,
                          num_experts=8, num_experts_per_tok=2, moe_intermediate_size=768)  # fmt: skip
    assert planned(moe, 80, tensor_parallel_size=16).reason == "TensorParallelExperts"
    assert planned(samples.MIXTRAL_8X7B, 80, tensor_parallel_size=16).reason != "TensorParallelExperts"


def test_bfloat16_is_refused_on_cards_without_it() -> None:
    turing = gpu_by_product("Tesla-T4")
    assert plan(LLAMA, EngineSettings(dtype="bfloat16"), turing).reason == "DtypeUnsupported"
    assert plan(LLAMA, EngineSettings(), turing).resolved.dtype == "float16"


def test_thirty_two_bits_double_the_weights() -> None:
    narrow = plan(LLAMA, EngineSettings(), gpu_of_memory(80))
    wide = plan(LLAMA, EngineSettings(dtype="float32"), gpu_of_memory(80))
    assert wide.weights_bytes == 2 * narrow.weights_bytes


def test_the_mtp_layer_is_paid_for() -> None:
    config = samples.decoder(
        "DeepseekV3ForCausalLM", "deepseek_v3", 1024, 2048, 4, 16, 16, 32000, 8192, kv_lora_rank=512, q_lora_rank=384,
        qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128, n_routed_experts=8, num_experts_per_tok=2,
        moe_intermediate_size=256, num_nextn_predict_layers=1,
    )  # fmt: skip
    shape = shape_from_config(config)
    without = plan(shape, EngineSettings(), gpu_of_memory(24))
    with_mtp = plan(shape, EngineSettings(speculation="mtp", num_speculative_tokens=1), gpu_of_memory(24))
    assert with_mtp.weights_bytes > without.weights_bytes
    assert with_mtp.layout.block_bytes == without.layout.block_bytes // 4 * 5


def test_a_draft_model_of_unknown_size_is_never_promised() -> None:
    settings = {"speculation": "eagle", "num_speculative_tokens": 2, "draft_attention_layers": 1}
    answer = planned(samples.LLAMA_31_8B, 80, **settings)
    assert (answer.verdict, answer.reason) == ("Tight", "DraftModelUnknown")
    assert planned(samples.LLAMA_31_8B, 80, **settings, draft_weight_bytes=GIB).verdict == "Fits"


def test_on_a_cpu_the_engine_profiles_nothing() -> None:
    answer = plan(
        LLAMA, EngineSettings(device="cpu", kv_cache_memory_bytes=4 * GIB, max_model_len=2048), gpu_of_memory(32)
    )
    assert answer.overhead.total.high == 0
    assert answer.resolved.block_size == 128


def test_the_same_question_has_the_same_answer() -> None:
    settings = EngineSettings(tensor_parallel_size=2)
    first = plan(LLAMA, settings, gpu_by_product("NVIDIA-L40S"))
    assert plan(LLAMA, replace(settings), gpu_by_product("NVIDIA-L40S")) == first


@pytest.mark.parametrize(
    ("version", "method", "capability", "refused"),
    [
        ("0.27.1", "fp8", (7, 5), False),
        ("0.27.1", "fp8", (7, 0), True),
        ("0.13.0", "fp8", (7, 5), True),
        ("0.14.0", "fp8", (7, 5), False),  # between two versions of the table, which differ
        ("0.32.0", "awq", (7, 5), False),
        ("0.32.0", "awq", (7, 0), True),
        ("0.40.0", "awq", (7, 0), True),
        ("0.32.0", "gptq", (6, 0), False),
        ("0.32.0", "compressed-tensors", (6, 1), True),
        ("0.32.0", "mxfp4", (7, 5), True),
        ("0.32.0", "mxfp4", (8, 0), False),
        ("0.32.0", "fp_quant", (9, 0), True),
        ("0.32.0", "fp_quant", (12, 1), False),
        ("0.10.2", "fp_quant", (7, 0), False),  # it came later: the check of arguments says so
        ("0.27.1", "modelopt", (7, 5), True),
        ("0.32.0", "no-such-method", (7, 0), False),
    ],
)
def test_a_quantization_is_refused_on_a_gpu_without_its_kernels(
    version: str, method: str, capability: tuple[int, int], refused: bool
) -> None:
    settings = EngineSettings(engine_version=version, dtype="half", quantization=method)
    answer = plan(LLAMA, settings, gpu_of_memory(80, capability))
    assert (answer.reason == "QuantizationNotOnGpu") is refused
    assert not refused or f"has {capability[0]}.{capability[1]}: use such GPUs" in answer.message


def test_the_quantization_of_the_checkpoint_counts_as_that_of_the_settings() -> None:
    shape = shape_from_config({**samples.QWEN25_7B_AWQ, "torch_dtype": "float16"})
    assert plan(shape, EngineSettings(), gpu_by_product("Tesla-V100-SXM2-32GB")).reason == "QuantizationNotOnGpu"
    assert plan(shape, EngineSettings(device="cpu"), gpu_by_product("Tesla-V100-SXM2-32GB")).verdict != "DoesNotFit"


# layers of head size 256 with a window between layers without one, of this head size; vLLM; reason
PAGES = [
    (384, "0.23.0", "KVCachePagesUneven"),
    (384, "0.24.0", "Fits"),
    (512, "0.23.0", "Fits"),  # a multiple: the small pages hold more tokens
    (256, "0.23.0", "Fits"),
]


@pytest.mark.parametrize(("head_size", "version", "reason"), PAGES)
def test_an_engine_that_cannot_pad_pages_does_not_start_with_uneven_ones(
    head_size: int, version: str, reason: str
) -> None:
    layers = tuple(
        replace(layer, caches=(cache,))
        for layer, cache in zip(
            LLAMA.layers,
            [CacheShape("sliding", 8, 256, 256, window=1024), CacheShape("full", 8, head_size, head_size)] * 16,
            strict=True,
        )
    )
    answer = plan(replace(LLAMA, layers=layers), EngineSettings(engine_version=version), gpu_of_memory(80))
    assert answer.reason == reason
    assert reason == "Fits" or "vLLM 0.24.0 or newer" in answer.message
