"""What is read from a pod's metrics port."""

from __future__ import annotations

import pytest

from triton_vllm_operator.api.spec.autoscaling import AutoscalingTarget
from triton_vllm_operator.observed.engine_metrics import Load, by_target, read

OWN = b"""\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model="qwen",model_name="qwen",version="1"} 3.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model="qwen",model_name="qwen",version="1"} 2
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 99
vllm:kv_cache_usage_perc{engine="0",model="qwen",version="1"} 0.25
vllm:generation_tokens_total{engine="0",model="qwen",version="1"} 1200
nv_inference_pending_request_count{model="qwen",version="1"} 77
"""
STOCK = b'vllm:generation_tokens_total{model="qwen",version="1"} 600.000000\n'


def test_every_target_has_a_value() -> None:
    found = by_target(read(OWN, 25.0), read(STOCK, 10.0))
    assert found == {
        "inFlightPerReplica": 5,
        "waitingPerReplica": 2,
        "kvCacheUsage": 0.25,
        "tokensPerSecondPerReplica": 40,
    }
    assert found.keys() == {field.alias for field in AutoscalingTarget.model_fields.values()}


def test_an_image_without_gauges_has_a_rate_alone() -> None:
    assert by_target(read(STOCK, 25.0), read(STOCK, 10.0)) == {"tokensPerSecondPerReplica": 0}


def test_engines_of_one_pod_are_added_and_the_fullest_cache_counts() -> None:
    text = b"".join(
        b'vllm:num_requests_running{engine="%d"} 1\nvllm:num_requests_waiting{engine="%d"} 0\n'
        b'vllm:kv_cache_usage_perc{engine="%d"} 0.%d\n' % (number, number, number, number)
        for number in (1, 2)
    )
    assert by_target(read(text, 0), None) == {"inFlightPerReplica": 2, "waitingPerReplica": 0, "kvCacheUsage": 0.2}


@pytest.mark.parametrize("before", [None, Load(24.9, generated=0), Load(10, generated=2000), Load(10)])
def test_a_rate_needs_an_earlier_reading_of_the_same_run(before: Load | None) -> None:
    assert "tokensPerSecondPerReplica" not in by_target(read(OWN, 25.0), before)


@pytest.mark.parametrize("text", [b"", b"<html>", b"\xff\x00", b"vllm:num_requests_running x\n"])
def test_what_is_not_a_metric_is_no_value(text: bytes) -> None:
    assert by_target(read(text, 0), None) == {}


@pytest.mark.parametrize("value", [b"NaN", b"+Inf", b"-1", b"one"])
def test_a_value_that_cannot_be_is_no_value(value: bytes) -> None:
    assert read(b"vllm:kv_cache_usage_perc %s\n" % value, 0).kv_cache is None
