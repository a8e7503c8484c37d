"""The engine's metrics on tritonserver's port, and requests whose client goes away."""

from __future__ import annotations

import http.client
import json
import math
import threading
import time

import pytest

from testing.grpc_stream import GrpcStream
from testing.server import ENDLESS, Server, wait_until

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

NOTICED_SECONDS = 10  # an endless request takes several times as long


def running(server: Server) -> float:
    return server.metric("vllm:num_requests_running")


def test_gauges_and_counters_have_the_engines_names_and_tritons_labels(server: Server) -> None:
    wait_until(lambda: any("vllm:num_requests_running" in series for series in server.metrics()))
    found = server.metrics()
    names = {series.split("{")[0] for series in found}
    assert {
        "vllm:num_requests_running",
        "vllm:num_requests_waiting",
        "vllm:kv_cache_usage_perc",
        "vllm:prefix_cache_queries_total",
        "vllm:prefix_cache_hits_total",
        "vllm:num_preemptions_total",
        "vllm:prompt_tokens_total",
        "vllm:generation_tokens_total",
        "vllm:time_to_first_token_seconds_bucket",
        "vllm:inter_token_latency_seconds_sum",
        "vllm:e2e_request_latency_seconds_count",
    } <= names
    for series in found:
        if series.startswith("vllm:"):
            assert 'model="llm"' in series
            assert 'version="1"' in series


def test_counters_agree_with_what_clients_counted(server: Server) -> None:
    def counted() -> tuple[float, float, float]:
        return (
            server.metric("vllm:generation_tokens_total"),
            server.metric("vllm:prompt_tokens_total"),
            server.metric("vllm:time_to_first_token_seconds_count"),
        )

    time.sleep(5)  # counters are two seconds old at most
    before = counted()
    answers: list[dict[str, int]] = []

    def ask() -> None:
        wanted = {"return_num_output_tokens": True, "return_num_input_tokens": True}
        answers.append(server.generate("Hello", max_tokens=20, ignore_eos=True, **wanted).body)

    threads = [threading.Thread(target=ask) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    generated = sum(answer["num_output_tokens"] for answer in answers)
    prompted = sum(answer["num_input_tokens"] for answer in answers)
    assert generated == 24 * 20
    wait_until(lambda: server.metric("vllm:generation_tokens_total") >= before[0] + generated, 20)
    tokens, prompt, requests = (after - first for after, first in zip(counted(), before, strict=True))
    # The engine may have been asked for a token or two in between, to prove its health: one token each.
    proofs = tokens - generated
    assert 0 <= proofs <= 10
    assert prompt == prompted + proofs
    assert requests == 24 + proofs


def test_histograms_are_whole(server: Server) -> None:
    server.generate(max_tokens=2)
    wait_until(lambda: server.metric("vllm:e2e_request_latency_seconds_count") > 0, 20)
    buckets = {
        float(series.split('le="')[1].split('"')[0]): value
        for series, value in server.metrics().items()
        if series.startswith("vllm:e2e_request_latency_seconds_bucket")
    }
    values = [buckets[bound] for bound in sorted(buckets)]
    assert values == sorted(values)
    assert math.isinf(max(buckets))
    assert buckets[math.inf] > 0


def test_client_that_leaves_a_stream_frees_the_engine(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=60)
    body = json.dumps({"text_input": "Hello", "stream": True, **ENDLESS})
    connection.request("POST", "/v2/models/llm/generate_stream", body)
    response = connection.getresponse()
    assert response.readline().startswith(b"data: ")
    wait_until(lambda: running(server) == 1)
    response.close()
    connection.close()
    wait_until(lambda: running(server) == 0, NOTICED_SECONDS)


@pytest.mark.parametrize("stream", [False, True])
def test_client_that_leaves_the_openai_port_frees_the_engine(server: Server, stream: bool) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.front_port, timeout=60)
    body = {"model": "llm", "prompt": "Hello", "stream": stream, **ENDLESS}
    connection.request("POST", "/v1/completions", json.dumps(body), {"content-type": "application/json"})
    wait_until(lambda: running(server) == 1)
    connection.close()
    wait_until(lambda: running(server) == 0, NOTICED_SECONDS)


def test_client_that_leaves_a_grpc_stream_frees_the_engine(server: Server) -> None:
    stream = GrpcStream(server)
    stream.send(text_input="Hello", stream=True, sampling_parameters=json.dumps(ENDLESS))
    stream.answers.get(timeout=60)
    wait_until(lambda: running(server) == 1)
    stream.close()
    wait_until(lambda: running(server) == 0, NOTICED_SECONDS)
