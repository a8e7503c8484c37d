"""Every argument of every vLLM line has exactly one effect on the plan."""

from typing import Any

import pytest

from triton_vllm_operator.catalog import argument_effects, argument_table, engine_rules
from triton_vllm_operator.catalog.argument_effects import Effect
from triton_vllm_operator.plan.engine_settings import PLANNED

LINES = [version for version in argument_table.versions() if engine_rules.has_rules(version)]
NEW = LINES[-1]


@pytest.mark.parametrize("version", LINES)
def test_every_argument_of_a_line_has_exactly_one_effect(version: str) -> None:
    names = argument_table.load(version).arguments
    wrong = {name: effects for name in names if len(effects := argument_effects.effects_of(name)) != 1}
    assert not wrong, "class these in catalog/data/argument_effects.yaml"


def test_no_argument_is_classed_that_no_line_has() -> None:
    table = argument_effects.table()
    ever = {name for version in LINES for name in argument_table.load(version).arguments}
    assert {*table.planned, *table.without_effect, *table.unplanned} <= ever
    assert table.known_values.keys() <= {*table.unplanned, *table.planned}
    assert table.nested.keys() <= set(table.planned)


def test_what_is_planned_is_what_the_planner_reads() -> None:
    assert set(argument_effects.table().planned) == PLANNED


@pytest.mark.parametrize(
    ("name", "value", "unplanned"),
    [
        ("enable_lora", True, ["enable_lora"]),
        ("enable_lora", False, []),
        ("cpu_offload_gb", 4, ["cpu_offload_gb"]),
        ("cpu_offload_gb", 0.0, []),
        ("swa_bounded_replay", False, ["swa_bounded_replay"]),
        ("swa_bounded_replay", True, []),
        ("hf_overrides", {}, []),
        ("hf_overrides", {"rope_theta": 1}, ["hf_overrides"]),
        ("performance_mode", "balanced", []),
        ("performance_mode", "throughput", ["performance_mode"]),
        ("load_format", "safetensors", []),
        ("load_format", "instanttensor", ["load_format"]),
        ("kv_offloading_size", 64, []),
        ("kv_offloading_backend", "native", []),
        ("kv_offloading_backend", "lmcache", ["kv_offloading_backend"]),
        ("safetensors_load_strategy", "torchao", ["safetensors_load_strategy"]),
        ("enable_log_requests", True, []),
        ("not_an_argument", 1, ["not_an_argument"]),
        ("compilation_config", {"max_cudagraph_capture_size": 8}, []),
        ("compilation_config", {"cudagraph_mode": "NONE", "cache_dir": "/x"}, ["compilation_config.cudagraph_mode"]),
        ("speculative_config", {"method": "ngram", "num_speculative_tokens": 2, "prompt_lookup_max": 4}, []),
        ("speculative_config", {"method": "mtp", "quantization": "fp8"}, ["speculative_config.quantization"]),
        ("runner", "generate", []),
        ("runner", "pooling", ["runner"]),
        ("use_fp64_gumbel", 1, ["use_fp64_gumbel"]),
    ],
)
def test_what_is_not_planned_is_named(name: str, value: Any, unplanned: list[str]) -> None:
    assert argument_effects.unplanned({name: value}, NEW) == unplanned


def test_a_version_between_two_lines_has_the_defaults_of_the_older() -> None:
    assert argument_effects.unplanned({"gpu_memory_utilization": 0.5, "performance_mode": "balanced"}, "0.18.2") == []


def test_one_and_true_are_different_values() -> None:
    assert argument_effects.unplanned({"offload_num_in_group": True}, NEW) == ["offload_num_in_group"]
    assert argument_effects.unplanned({"offload_num_in_group": 1.0}, NEW) == []


def test_an_effect_is_that_of_its_list() -> None:
    assert argument_effects.effects_of("seed") == [Effect.NONE]
    assert argument_effects.effects_of("dtype") == [Effect.PLANNED]
    assert argument_effects.effects_of("enable_lora") == [Effect.UNPLANNED]
    assert argument_effects.effects_of("trust_remote_code") == [Effect.REFUSED]
    assert argument_effects.effects_of("model") == [Effect.REFUSED]
