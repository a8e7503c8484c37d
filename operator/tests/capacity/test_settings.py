"""What the engine makes of settings that are left out, by version and GPU class."""

from __future__ import annotations

import pytest

from triton_vllm_operator.capacity import EngineSettings, ShapeError, gpu_by_product, resolve, shape_from_config
from triton_vllm_operator.catalog.engine_rules import newest_known, rules_for

from . import samples

LLAMA = shape_from_config(samples.LLAMA_31_8B)


@pytest.mark.parametrize(
    ("product", "version", "usage", "tokens", "seqs"),
    [
        ("NVIDIA-H100-80GB-HBM3", "0.32.0", "api_server", 8192, 1024),
        ("NVIDIA-H100-80GB-HBM3", "0.32.0", "llm_class", 16384, 1024),
        ("NVIDIA-A100-SXM4-80GB", "0.32.0", "api_server", 2048, 256),
        ("NVIDIA-L40S", "0.32.0", "api_server", 2048, 256),
        ("NVIDIA-B200", "0.32.0", "api_server", 16384, 1024),
        ("NVIDIA-B200", "0.25.1", "api_server", 8192, 1024),
        ("NVIDIA-GB10", "0.32.0", "api_server", 8192, 1024),
        ("NVIDIA-GB10", "0.33.0", "api_server", 2048, 256),
        ("NVIDIA-H100-80GB-HBM3", "0.32.0", "other", 2048, 128),
    ],
)
def test_batch_limits_follow_the_card(product: str, version: str, usage: str, tokens: int, seqs: int) -> None:
    settings = EngineSettings(engine_version=version, usage=usage)  # type: ignore[arg-type]
    resolved = resolve(LLAMA, settings, gpu_by_product(product))
    assert (resolved.max_num_batched_tokens, resolved.max_num_seqs) == (tokens, seqs)


def test_sequences_are_never_more_than_the_tokens_of_a_step() -> None:
    settings = EngineSettings(max_num_batched_tokens=64)
    assert resolve(LLAMA, settings, gpu_by_product("NVIDIA-L40S")).max_num_seqs == 64


@pytest.mark.parametrize(("version", "share"), [("0.19.1", 0.9), ("0.20.0", 0.92), ("0.32.0", 0.92)])
def test_the_default_utilization_changed(version: str, share: float) -> None:
    assert rules_for(version).default_gpu_memory_utilization == share


@pytest.mark.parametrize(
    ("version", "config", "v2"),
    [
        ("0.21.0", samples.LLAMA_31_8B, False),
        ("0.23.0", samples.LLAMA_31_8B, True),
        ("0.24.0", samples.MIXTRAL_8X7B, False),
        ("0.25.1", samples.LLAMA_31_8B, True),
        ("0.25.1", samples.QWEN25_7B, True),
        ("0.25.1", samples.MIXTRAL_8X7B, False),
        ("0.25.1", samples.DEEPSEEK_V2_LITE, True),
        ("0.25.1", samples.QWEN38_27B, False),
        ("0.29.0", samples.QWEN38_27B, True),
    ],
)
def test_the_runner_follows_version_and_architecture(version: str, config: dict[str, object], v2: bool) -> None:
    resolved = resolve(shape_from_config(config), EngineSettings(engine_version=version), gpu_by_product("H100-NVL"))
    assert resolved.v2_runner is v2


@pytest.mark.parametrize("version", ["0.8.5", "0.1.0"])
def test_the_v0_engine_is_not_planned(version: str) -> None:
    with pytest.raises(ShapeError) as caught:
        resolve(LLAMA, EngineSettings(engine_version=version), gpu_by_product("NVIDIA-L40S"))
    assert caught.value.reason == "EngineVersionUnsupported"


@pytest.mark.parametrize("version", ["", "newest", "26.07", "-1.2.3", "0.x.1"])
def test_what_is_not_a_version_is_refused(version: str) -> None:
    with pytest.raises(ShapeError) as caught:
        resolve(LLAMA, EngineSettings(engine_version=version), gpu_by_product("NVIDIA-L40S"))
    assert caught.value.reason == "EngineVersionUnknown"


def test_versions_newer_than_the_table_plan_like_the_newest() -> None:
    newest = rules_for(newest_known())
    later = rules_for("0.99.0")
    assert (later.counts_flight, later.v2_runner) == (newest.counts_flight, newest.v2_runner)


def test_prefix_caching_is_off_for_hybrids_of_older_engines() -> None:
    hybrid = shape_from_config(samples.QWEN38_27B)
    card = gpu_by_product("NVIDIA-H100-80GB-HBM3")
    assert not resolve(hybrid, EngineSettings(engine_version="0.25.1"), card).enable_prefix_caching
    assert resolve(hybrid, EngineSettings(engine_version="0.26.0"), card).enable_prefix_caching
    assert resolve(LLAMA, EngineSettings(engine_version="0.25.1"), card).enable_prefix_caching
