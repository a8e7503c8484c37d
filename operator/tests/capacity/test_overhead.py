"""The uncertain terms: intervals that are ordered, that follow their cause, and that hold what was measured."""

from __future__ import annotations

import pytest

from triton_vllm_operator.capacity import EngineSettings, ModelShape, gpu_by_product, plan
from triton_vllm_operator.capacity.overhead import Overhead, capture_sizes
from triton_vllm_operator.capacity.settings import resolve

from . import samples

GIB = 2**30
H200 = gpu_by_product("NVIDIA-H200")
LLAMA = ModelShape.from_config(samples.LLAMA_31_8B)


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
        found = spent(ModelShape.from_config(config))
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
    assert capture_sizes(settings, resolve(LLAMA, settings, H200), LLAMA) == count
