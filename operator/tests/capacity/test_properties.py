"""Properties that hold for every model: more never makes less, and nothing hostile gets through."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from triton_vllm_operator.capacity import (
    EngineSettings,
    ModelShape,
    Plan,
    ShapeError,
    gpu_of_memory,
    parse_header,
    plan,
    shape_from_config,
)
from triton_vllm_operator.capacity.memory.weights import Parallelism, stage_weights
from triton_vllm_operator.catalog.architectures import table

from . import samples

SHAPES = [
    shape_from_config(config)
    for config in (samples.LLAMA_31_8B, samples.MIXTRAL_8X7B, samples.GEMMA3_27B, samples.DEEPSEEK_V2_LITE,
                   samples.QWEN38_27B, samples.GPT_OSS_20B, samples.QWEN25_7B)
]  # fmt: skip
ORDER = {"DoesNotFit": 0, "Tight": 1, "Fits": 2}
shapes = st.sampled_from(SHAPES)
memory = st.floats(8, 192)
engines = st.builds(
    EngineSettings,
    engine_version=st.sampled_from(["0.19.0", "0.25.1", "0.32.0"]),
    tensor_parallel_size=st.sampled_from([1, 2, 4, 8]),
    max_model_len=st.integers(512, 32768),
    max_num_batched_tokens=st.sampled_from([2048, 8192]),
    max_num_seqs=st.sampled_from([16, 256]),
    gpu_memory_utilization=st.floats(0.3, 0.95),
    kv_cache_dtype=st.sampled_from(["auto", "fp8"]),
)


def planned(shape: ModelShape, engine: EngineSettings, gib: float) -> Plan:
    """The plan on a recent card of `gib`."""
    return plan(shape, engine, gpu_of_memory(gib, (9, 0)))


@given(shapes, engines, memory, st.floats(0, 40))
@settings(deadline=None, max_examples=60)
def test_more_memory_never_fits_less(shape: ModelShape, engine: EngineSettings, gib: float, more: float) -> None:
    less, rest = planned(shape, engine, gib), planned(shape, engine, gib + more)
    assert ORDER[rest.verdict] >= ORDER[less.verdict]
    assert rest.kv.blocks >= less.kv.blocks


@given(shapes, engines, memory)
@settings(deadline=None, max_examples=60)
def test_a_shorter_context_never_fits_less(shape: ModelShape, engine: EngineSettings, gib: float) -> None:
    shorter = replace(engine, max_model_len=max((engine.max_model_len or 0) // 2, 256))
    assert ORDER[planned(shape, shorter, gib).verdict] >= ORDER[planned(shape, engine, gib).verdict]


@given(shapes, st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 2, 4]))
@settings(deadline=None)
def test_more_ranks_never_hold_more_weights_each(shape: ModelShape, tensor: int, pipeline: int) -> None:
    before = stage_weights(shape, Parallelism(tensor, pipeline))
    after = stage_weights(shape, Parallelism(2 * tensor, pipeline))
    assert all(more <= less for more, less in zip(after, before, strict=True))


@given(shapes, engines, memory)
@settings(deadline=None, max_examples=60)
def test_the_interval_is_ordered_and_fits_promises_its_worst_end(
    shape: ModelShape, engine: EngineSettings, gib: float
) -> None:
    answer = planned(shape, engine, gib)
    assert answer.kv_bytes.low <= answer.kv_bytes.expected <= answer.kv_bytes.high
    assert answer.kv_low.blocks <= answer.kv.blocks
    if answer.verdict == "Fits":
        assert answer.kv_low.fits_one_request
        assert answer.kv_low.concurrency >= 1
    json.dumps(answer.to_json())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=10), children, max_size=4),
    max_leaves=20,
)


@given(st.sampled_from(sorted(samples.QWEN38_27B)), json_values)
@settings(deadline=None, max_examples=200)
def test_any_value_in_any_field_is_planned_or_refused_with_a_reason(name: str, value: Any) -> None:
    with suppress(ShapeError):  # any other error is a defect
        shape = shape_from_config({**samples.QWEN38_27B, name: value})
        assert plan(shape, EngineSettings(), gpu_of_memory(80)).verdict in ORDER


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes_are_no_header_or_a_small_one(data: bytes) -> None:
    with suppress(ShapeError):
        assert len(parse_header(data)) < 200


PLANNED = [(name, model_type) for name, proofs in table().planned.items() for model_type in proofs]
NAMES = sorted({name for fields in table().defaults.values() for name in fields} | {
    "attention_chunk_size", "hybrid_layer_pattern", "hybrid_override_pattern", "kv_lora_rank", "layer_types",
    "layers_block_type", "linear_num_key_heads", "mamba_n_heads", "no_rope_layers", "num_experts", "per_layer_config",
    "qk_rope_head_dim", "quantization_config", "rope_parameters", "rope_scaling", "sliding_window_pattern",
})  # fmt: skip
HOSTILE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats() | st.text(max_size=20),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(max_size=8), values, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(PLANNED), st.dictionaries(st.sampled_from(NAMES), HOSTILE, max_size=8), st.booleans())
@settings(deadline=None, max_examples=150)
def test_no_config_of_a_planned_architecture_crashes_the_planner(
    planned_pair: tuple[str, str], fields: dict[str, Any], nested: bool
) -> None:
    architecture, model_type = planned_pair
    text = {**samples.LLAMA_3_8B, "num_hidden_layers": 4, "model_type": model_type, **fields}
    config = {"text_config": text} if nested else text
    with suppress(ShapeError):
        shape = shape_from_config({**config, "architectures": [architecture]})
        plan(shape, EngineSettings(max_model_len=1024), gpu_of_memory(80))
