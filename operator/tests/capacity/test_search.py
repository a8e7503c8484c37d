"""The smallest change that fits: every suggestion is planned, and what was left out is written out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from triton_vllm_operator.capacity import (
    EngineSettings,
    GPUClass,
    ModelShape,
    Suggestion,
    choose,
    gpu_by_product,
    gpu_of_memory,
    plan,
    shape_from_config,
    with_suggestions,
)
from triton_vllm_operator.capacity.memory import suggestions

from . import samples

LLAMA = shape_from_config(samples.LLAMA_31_8B)
LARGE = shape_from_config(samples.LLAMA_33_70B)
L40S = replace(gpu_by_product("NVIDIA-L40S"), count=8, per_node=4)
H100 = replace(gpu_by_product("NVIDIA-H100-80GB-HBM3"), count=8, per_node=8)

_FIELDS = {
    "engine.maxModelLen": "max_model_len",
    "engine.tensorParallelSize": "tensor_parallel_size",
    "engine.gpuMemoryUtilization": "gpu_memory_utilization",
    "engine.kvCacheDtype": "kv_cache_dtype",
    "engine.maxNumSeqs": "max_num_seqs",
    "engine.maxNumBatchedTokens": "max_num_batched_tokens",
}


def applied(settings: EngineSettings, gpu: GPUClass, suggestion: Suggestion, cluster: list[GPUClass]) -> Any:
    """(settings, GPU) with a suggestion's changes made."""
    changes: dict[str, Any] = dict(suggestion.changes)
    product = changes.pop("resources.gpu.product", None)
    card = next((other for other in cluster if other.product == product), gpu)
    return replace(settings, **{_FIELDS[name]: value for name, value in changes.items()}), card


@pytest.mark.parametrize(
    ("shape", "settings", "gpu"),
    [
        (LLAMA, EngineSettings(), gpu_by_product("NVIDIA-L4")),
        (LLAMA, EngineSettings(), replace(gpu_by_product("NVIDIA-A10G"), per_node=4)),
        (LLAMA, EngineSettings(gpu_memory_utilization=0.999), gpu_of_memory(40)),
        (LLAMA, EngineSettings(tensor_parallel_size=3), L40S),
        (LARGE, EngineSettings(max_model_len=32768), L40S),
        (LARGE, EngineSettings(tensor_parallel_size=2, max_model_len=32768), H100),
        (shape_from_config(samples.QWEN38_27B),
         EngineSettings(engine_version="0.29.0", max_model_len=8192), gpu_of_memory(94.97)),
    ],
)  # fmt: skip
def test_every_suggestion_fits_when_it_is_applied(shape: ModelShape, settings: EngineSettings, gpu: GPUClass) -> None:
    cluster = [L40S, H100]
    answer = with_suggestions(shape, settings, gpu, cluster)
    assert answer.verdict != "Fits"
    assert answer.suggestions
    for suggestion in answer.suggestions:
        if suggestion.changes[0][0] == "model.variant":
            continue
        assert plan(shape, *applied(settings, gpu, suggestion, cluster)).verdict == "Fits", suggestion


def test_what_fits_gets_no_suggestion() -> None:
    assert with_suggestions(LLAMA, EngineSettings(), H100).suggestions == ()


def test_cheaper_changes_come_first_and_each_names_the_field_to_write() -> None:
    answer = with_suggestions(LLAMA, EngineSettings(), gpu_by_product("NVIDIA-L4"), [H100])
    names = [suggestion.changes[0][0] for suggestion in answer.suggestions]
    assert names.index("engine.maxModelLen") < names.index("engine.tensorParallelSize")
    assert names.index("engine.tensorParallelSize") < names.index("resources.gpu.product")
    for suggestion in answer.suggestions:
        assert all(name in suggestion.message or name == "model.variant" for name, _ in suggestion.changes)


def test_the_suggested_length_is_useful_and_close_to_the_longest() -> None:
    answer = with_suggestions(LLAMA, EngineSettings(), gpu_by_product("NVIDIA-L4"))
    changes = dict(next(s.changes for s in answer.suggestions if s.changes[0][0] == "engine.maxModelLen"))
    assert (
        answer.kv_low.estimated_max_len - 1024 < int(changes["engine.maxModelLen"]) <= answer.kv_low.estimated_max_len
    )


def test_the_first_larger_size_that_the_heads_allow_is_suggested() -> None:
    answer = with_suggestions(LARGE, EngineSettings(max_model_len=32768), gpu_by_product("NVIDIA-H100-80GB-HBM3"))
    changes = [dict(suggestion.changes) for suggestion in answer.suggestions]
    assert {"engine.tensorParallelSize": 4} in changes


def test_more_gpus_than_a_node_has_are_not_suggested() -> None:
    small = replace(gpu_by_product("NVIDIA-L4"), per_node=2)
    for suggestion in with_suggestions(LARGE, EngineSettings(), small).suggestions:
        assert int(dict(suggestion.changes).get("engine.tensorParallelSize", 0)) <= 2


def test_fp8_is_not_suggested_to_cards_without_it() -> None:
    ampere = gpu_by_product("NVIDIA-A10G")
    for suggestion in with_suggestions(LLAMA, EngineSettings(), ampere).suggestions:
        assert "engine.kvCacheDtype" not in dict(suggestion.changes)


def test_choosing_takes_the_smallest_size_that_fits_and_writes_everything_out() -> None:
    chosen = choose(LARGE, EngineSettings(max_model_len=32768), H100)
    assert chosen.tensor_parallel_size == 4
    assert plan(LARGE, chosen, H100).verdict == "Fits"
    assert plan(LARGE, replace(chosen, tensor_parallel_size=2), H100).verdict != "Fits"
    assert None not in (chosen.max_model_len, chosen.max_num_batched_tokens, chosen.max_num_seqs,
                        chosen.gpu_memory_utilization, chosen.enable_prefix_caching)  # fmt: skip


def test_choosing_shortens_the_context_when_no_size_fits_the_models_own() -> None:
    card = replace(gpu_by_product("NVIDIA-L4"), per_node=1)
    chosen = choose(LLAMA, EngineSettings(), card)
    assert chosen.max_model_len is not None
    assert 2048 <= chosen.max_model_len < 131072
    assert plan(LLAMA, chosen, card).verdict == "Fits"


def test_choosing_keeps_a_stated_concurrency() -> None:
    card = replace(gpu_by_product("NVIDIA-L4"), per_node=1)
    chosen = choose(LLAMA, EngineSettings(), card, concurrency=4)
    assert plan(LLAMA, chosen, card).kv_low.concurrency >= 4


def test_choosing_leaves_a_size_that_was_given() -> None:
    chosen = choose(LARGE, EngineSettings(tensor_parallel_size=8, max_model_len=8192), H100, choose_parallel=False)
    assert chosen.tensor_parallel_size == 8


def test_without_any_fit_the_plan_says_why() -> None:
    card = replace(gpu_by_product("Tesla-T4"), per_node=1)
    chosen = choose(LARGE, EngineSettings(), card)
    assert plan(LARGE, chosen, card).verdict == "DoesNotFit"


def share_suggested(shape: ModelShape, settings: EngineSettings, gpu: GPUClass) -> Any:
    """The suggested gpuMemoryUtilization, or None."""
    changes = [dict(one.changes) for one in with_suggestions(shape, settings, gpu).suggestions]
    return next((one["engine.gpuMemoryUtilization"] for one in changes if "engine.gpuMemoryUtilization" in one), None)


def longest_with(share: float, shape: ModelShape, gpu: GPUClass) -> int:
    """The longest request that fits for certain with this share of the GPU."""
    return plan(shape, EngineSettings(gpu_memory_utilization=share), gpu).kv_low.estimated_max_len


@pytest.mark.parametrize(
    ("shape", "gib", "share"), [(LARGE, 160, 0.95), (LARGE, 160, 0.96), (LARGE, 160, 0.97), (LLAMA, 20, 0.96)]
)
def test_the_lowest_share_that_fits_is_suggested(shape: ModelShape, gib: float, share: float) -> None:
    gpu = gpu_of_memory(gib, (9, 0))
    settings = EngineSettings(max_model_len=longest_with(share, shape, gpu))
    assert share_suggested(shape, settings, gpu) == share


@pytest.mark.parametrize(("shape", "gib", "highest"), [(LARGE, 160, 0.97), (LLAMA, 20, 0.96)])
def test_no_share_is_suggested_beyond_97_percent_or_into_the_memory_of_the_context(
    shape: ModelShape, gib: float, highest: float
) -> None:
    gpu = gpu_of_memory(gib, (9, 0))
    settings = EngineSettings(max_model_len=longest_with(highest, shape, gpu) + 16)
    assert plan(shape, replace(settings, gpu_memory_utilization=highest + 0.01), gpu).kv_low.fits_one_request
    assert share_suggested(shape, settings, gpu) is None


def test_a_suggestion_is_planned_once_per_change(monkeypatch: pytest.MonkeyPatch) -> None:
    planned: list[tuple[EngineSettings, GPUClass]] = []

    def counting(shape: ModelShape, settings: EngineSettings, gpu: GPUClass) -> Any:
        planned.append((settings, gpu))
        return plan(shape, settings, gpu)

    monkeypatch.setattr(suggestions, "plan", counting)
    with_suggestions(LARGE, EngineSettings(max_model_len=32768), L40S, [L40S, H100])
    unchanged = [one for one in planned if one == (EngineSettings(max_model_len=32768), L40S)]
    assert len(unchanged) == 2  # itself, and with weights in FP8
