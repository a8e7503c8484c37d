"""Available KV cache against what engines logged."""

from __future__ import annotations

from statistics import median

import pytest

from triton_vllm_operator.capacity import EngineSettings, gpu_of_memory, plan, shape_from_config

from .rows import CSV, GIB, MODELS, logged, scored
from .samples import QWEN3_14B


def test_every_row_has_its_source() -> None:
    rows = logged()
    assert len(rows) == 12
    assert all(row["source"] for row in rows.values())
    assert CSV.stat().st_size < 20_000


def test_available_cache_is_within_the_bounds() -> None:
    errors = [abs(row.error) for row in scored()]
    assert len(errors) == len(MODELS)
    assert median(errors) <= 0.03
    assert max(errors) <= 0.08


@pytest.mark.parametrize("name", MODELS)
def test_the_logged_size_lies_in_the_interval(name: str) -> None:
    row = next(one for one in scored() if one.name == name)
    assert row.answer.kv_bytes.low <= row.logged_gib * GIB <= row.answer.kv_bytes.high


def test_a_row_that_started_is_never_said_not_to_fit() -> None:
    assert {row.answer.verdict for row in scored() if row.started} <= {"Fits", "Tight"}


def test_a_row_that_did_not_start_is_never_said_to_fit() -> None:
    # K15: refused for 262,144 tokens with 6.94 GiB of cache
    config = {**QWEN3_14B, "num_hidden_layers": 36, "hidden_size": 4096, "num_attention_heads": 32,
              "max_position_embeddings": 262144, "intermediate_size": 12288}  # fmt: skip
    shape = shape_from_config(config)
    settings = EngineSettings(engine_version="0.19.0", kv_cache_memory_bytes=int(6.94 * GIB))
    answer = plan(shape, settings, gpu_of_memory(24))
    assert answer.verdict == "DoesNotFit"
    assert abs(answer.kv.estimated_max_len - 50512) <= 16
