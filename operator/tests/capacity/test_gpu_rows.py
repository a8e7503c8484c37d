"""The plan against starts of vLLM 0.25.1 on one NVIDIA H100 80GB HBM3 (two for one row), made by `tests/gpu`."""

from __future__ import annotations

from dataclasses import replace
from statistics import median

import pytest

from tests.builders.gpu_rows import FOUND, ROWS, STARTED, name
from tests.capacity.results import kv_high
from tests.gpu.cases import CASES
from tests.gpu.compare import Compared, settings
from tests.gpu.models import MODELS
from triton_vllm_operator.capacity import gpu_by_product, plan, shape_from_config
from triton_vllm_operator.capacity.memory.overhead import baseline

MEASURED = [one for one in FOUND if one.terms]


def test_every_row_names_the_card_and_the_versions() -> None:
    about = {(row["gpu"], row["driver"], row["vllm"], row["torch"]) for row in ROWS}
    assert about == {("NVIDIA H100 80GB HBM3", "580.159.04", "0.25.1", "2.11.0+cu130")}
    assert len(FOUND) == 40


def test_the_cases_are_still_the_ones_that_were_started() -> None:
    cases = {case.name: case for case in CASES}
    assert all(cases[row["case"]].settings == row["settings"] for row in ROWS)
    assert all(cases[row["case"]].model == row["model"] for row in ROWS)
    assert all(case.model in MODELS for case in CASES)


@pytest.mark.parametrize("one", MEASURED, ids=name)
def test_each_measured_term_lies_in_its_interval(one: Compared) -> None:
    assert [term for term, found in one.terms.items() if not found.inside] == []


def test_what_the_engine_refused_is_never_said_to_fit() -> None:
    refused = {name(one): one.answer.verdict for one in FOUND if not one.started}
    assert refused == {"edge-below": "Tight", "edge-v1": "Tight", "no-memory": "DoesNotFit",
                       "no-context": "DoesNotFit", "too-long": "DoesNotFit"}  # fmt: skip


def test_what_started_is_never_said_not_to_fit() -> None:
    assert {one.answer.verdict for one in STARTED} <= {"Fits", "Tight"}


def test_the_expected_cache_is_near_the_measured_one() -> None:
    errors = [abs(one.error) for one in STARTED]
    assert median(errors) <= 0.002
    assert max(errors) <= 0.05


@pytest.mark.parametrize("one", STARTED, ids=name)
def test_the_engine_ran_on_the_planned_runner_with_the_planned_block_size(one: Compared) -> None:
    assert {rank["runner"] for rank in one.row["ranks"]} == {"v2" if one.answer.resolved.v2_runner else "v1"}
    assert one.row["block_size"] == one.answer.layout.block_size
    assert one.answer.kv_low.blocks <= one.row["blocks"] <= kv_high(one.answer).blocks


@pytest.mark.parametrize("one", MEASURED, ids=name)
def test_a_second_profile_run_needs_what_a_warm_start_is_planned_with(one: Compared) -> None:
    # nothing is compiled in it; what the first run kept is counted with it
    case = next(case for case in CASES if case.name == name(one))
    warm = replace(settings(case, one.row["vllm"]), compile_cache_warm=True)
    shape = shape_from_config(MODELS[case.model])
    planned = plan(shape, warm, gpu_by_product(one.row["gpu"])).overhead.activation
    rank = one.row["ranks"][0]
    assert planned.low <= rank["again"]["peak"] + rank["kept"] <= planned.high


@pytest.mark.parametrize("one", MEASURED, ids=name)
def test_what_is_held_before_the_engine_looks_lies_in_its_interval(one: Compared) -> None:
    case = next(case for case in CASES if case.name == name(one))
    planned = baseline(settings(case, one.row["vllm"]))
    for rank in one.row["ranks"]:
        assert planned.low <= rank["start"]["total"] - rank["start"]["free"] <= planned.high


def test_blocks_follow_exactly_from_the_measured_memory() -> None:
    for one in STARTED:
        rank = min(one.row["ranks"], key=lambda rank: int(rank["available_kv_cache_memory_bytes"]))
        case = next(case for case in CASES if case.name == name(one))
        given = replace(settings(case, one.row["vllm"]),
                        kv_cache_memory_bytes=rank["available_kv_cache_memory_bytes"])  # fmt: skip
        answer = plan(shape_from_config(MODELS[case.model]), given, gpu_by_product(one.row["gpu"]))
        assert answer.kv.blocks == one.row["blocks"], name(one)
