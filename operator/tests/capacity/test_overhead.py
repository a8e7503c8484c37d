"""The uncertain terms: intervals that are ordered, that follow their cause, and that hold what was measured."""

from __future__ import annotations

from typing import Any

import pytest

from triton_vllm_operator.capacity import EngineSettings, ModelShape, gpu_by_product, plan, shape_from_config
from triton_vllm_operator.capacity.memory.engine_settings import resolve
from triton_vllm_operator.capacity.memory.overhead import Interval, Overhead, baseline, capture_sizes

from . import samples

GIB = 2**30
H200 = gpu_by_product("NVIDIA-H200")
LLAMA = shape_from_config(samples.LLAMA_31_8B)


def spent(shape: ModelShape = LLAMA, **settings: object) -> Overhead:
    """The overhead on an H200."""
    return plan(shape, EngineSettings(**settings), H200).overhead  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "peak_gib", "kv_gib"),
    [
        ({}, 1.10, 112.28),
        ({"max_model_len": 8192}, 1.10, 112.28),
        ({"max_model_len": 8192, "max_num_batched_tokens": 2048}, 1.01, 112.38),
    ],
)
def test_measured_starts_on_an_h200_lie_in_the_interval(
    settings: dict[str, int], peak_gib: float, kv_gib: float
) -> None:
    # vLLM 0.25.1, Llama-3.1-8B in bfloat16, cold compile cache: the engine's own log
    answer = plan(LLAMA, EngineSettings(engine_version="0.25.1", **settings), H200)  # type: ignore[arg-type]
    activation = answer.overhead.activation
    assert activation.low <= peak_gib * GIB <= activation.high
    assert answer.kv_bytes.low <= kv_gib * GIB <= answer.kv_bytes.high
    assert answer.kv_bytes.expected / GIB == pytest.approx(kv_gib, rel=0.005)


def test_every_interval_is_ordered() -> None:
    for config in (samples.LLAMA_31_8B, samples.MIXTRAL_8X7B, samples.DEEPSEEK_V2_LITE, samples.QWEN38_27B):
        found = spent(shape_from_config(config))
        for term in (found.non_torch, found.activation, found.cuda_graph, found.total):
            assert 0 <= term.low <= term.expected <= term.high


def test_more_tokens_in_a_step_never_take_less() -> None:
    sizes = [spent(max_num_batched_tokens=tokens, max_num_seqs=256).activation for tokens in (2048, 8192, 32768)]
    assert [size.expected for size in sizes] == sorted(size.expected for size in sizes)
    assert sizes[0].high < sizes[2].high


def test_eager_starts_subtract_no_graphs() -> None:
    assert spent(enforce_eager=True, engine_version="0.32.0").cuda_graph.high == 0
    assert spent(engine_version="0.32.0").cuda_graph.low > 0


def test_graphs_are_subtracted_only_where_the_engine_does() -> None:
    assert spent(engine_version="0.19.0").cuda_graph.high == 0
    assert spent(engine_version="0.25.1").cuda_graph.high == 0  # V2 runner: its estimate is 0
    assert spent(engine_version="0.25.1", use_v2_model_runner=False).cuda_graph.low > 0


def test_several_ranks_keep_buffers_to_talk_to_each_other() -> None:
    assert spent(tensor_parallel_size=2).non_torch.expected > spent().non_torch.expected


def test_a_warm_compile_cache_has_no_benchmark_peak() -> None:
    assert spent(compile_cache_warm=True).activation.expected < spent().activation.expected


@pytest.mark.parametrize(("seqs", "count"), [(1, 2), (4, 4), (256, 51), (1024, 51)])
def test_captured_batch_sizes(seqs: int, count: int) -> None:
    settings = EngineSettings(max_num_seqs=seqs, engine_version="0.32.0")
    assert len(capture_sizes(settings, resolve(LLAMA, settings, H200), LLAMA)) == count


def test_the_sampler_keeps_fewer_copies_of_the_logits_in_newer_engines() -> None:
    logits = 1024 * LLAMA.vocab_size
    warm: dict[str, Any] = {"enforce_eager": True, "max_num_batched_tokens": 2048}
    v1 = [spent(engine_version=version, use_v2_model_runner=False, **warm).activation.expected
          for version in ("0.16.0", "0.17.0", "0.25.1")]  # fmt: skip
    v2 = [spent(engine_version=version, use_v2_model_runner=True, max_num_seqs=1024, **warm).activation.expected
          for version in ("0.27.0", "0.28.0")]  # fmt: skip
    assert v1[0] - v1[1] == (28 - 14) * logits
    assert v1[1] == v1[2]
    assert v1[2] > v2[0]
    assert v2[0] - v2[1] <= (6 - 2) * logits  # the forward pass is what is left


def test_the_buffers_of_experts_outlive_the_forward_pass() -> None:
    shape = shape_from_config(samples.MIXTRAL_8X7B)
    rows = 8192 * shape.experts.per_token if shape.experts else 0
    kept = rows * (14336 + 28672) * 2
    eager: dict[str, Any] = {"enforce_eager": True, "max_num_seqs": 4096}
    old, new = (spent(shape, engine_version=version, **eager).activation for version in ("0.12.0", "0.13.0"))
    assert new.expected - old.expected == kept


def test_graphs_on_hopper_grow_with_layers_heads_and_captured_sizes() -> None:
    def graphs(seqs: int = 1024, **fields: object) -> int:
        shape = shape_from_config({**samples.LLAMA_31_8B, **fields})
        return spent(shape, engine_version="0.32.0", max_num_seqs=seqs).cuda_graph.expected

    assert graphs(num_hidden_layers=64) > graphs() > graphs(num_hidden_layers=8)
    assert graphs(num_attention_heads=64, head_dim=128) > graphs()
    assert graphs(16) < graphs(256) < graphs()


def test_tokens_cut_over_ranks_leave_no_more_logits_than_one_rank_has() -> None:
    eager: dict[str, Any] = {"enforce_eager": True, "max_num_batched_tokens": 2048}
    assert spent(tensor_parallel_size=2, **eager).activation.expected <= spent(**eager).activation.expected


GIBIBYTES = {
    1: ((0.05, 0.22, 0.45), (0.20, 0.51, 0.60)),
    2: ((0.20, 0.54, 1.30), (0.40, 1.47, 1.60)),
    8: ((0.20, 0.54, 1.30), (0.40, 1.47, 1.60)),
}
"""Ranks -> non-torch memory and CUDA context, each low, expected and high: measured on H100 and H200."""


@pytest.mark.parametrize("ranks", GIBIBYTES)
def test_memory_beside_torch_is_what_was_measured(ranks: int) -> None:
    for field in ("tensor_parallel_size", "pipeline_parallel_size"):
        settings = EngineSettings(**{field: ranks})  # type: ignore[arg-type]
        found = plan(LLAMA, settings, H200).overhead.non_torch, baseline(settings)
        assert found == tuple(Interval(*(int(gib * GIB) for gib in one)) for one in GIBIBYTES[ranks])
