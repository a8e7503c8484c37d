"""A model with sampling defaults, profiles, limits and a key: both protocols obey them."""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from testing.server import ENDLESS, TINY_ENGINE, Server, running, tiny_model, wait_until, write_model

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

KEY = "a key of the tests"
SECONDS = 4
HELLO: Any = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("configured")
    model = folder / "model"
    shutil.copytree(tiny_model(), model)
    (model / "generation_config.json").write_text(json.dumps({"temperature": 2.0, "max_new_tokens": 7}))
    write_model(
        folder / "models",
        "llm",
        {**TINY_ENGINE, "model": str(model)},
        sampling={
            "defaults": {"temperature": 0.0, "ignore_eos": True},
            "profiles": {"long": {"max_tokens": 9}, "wild": {"temperature": 2.0, "max_tokens": 30}},
        },
        limits={"request_timeout_seconds": SECONDS, "max_n": 2, "max_prompt_bytes": 10_000, "max_body_bytes": 50_000},
        openai={},
    )
    with running(folder, folder / "models", VLLM_API_KEY=KEY, VLLM_LOG_STATS_INTERVAL="1") as started:
        yield started


@pytest.fixture
def client(configured: Server) -> OpenAI:
    return OpenAI(base_url=f"http://127.0.0.1:{configured.front_port}/v1", api_key=KEY, max_retries=0)


def chat_length(client: OpenAI, **values: Any) -> int:
    usage = client.chat.completions.create(model="llm", messages=HELLO, **values).usage
    assert usage is not None
    return int(usage.completion_tokens)


def triton_length(server: Server, **values: Any) -> int:
    answer = server.generate(return_num_output_tokens=True, **values)
    assert answer.status == 200, answer
    return int(answer.body["num_output_tokens"])


def test_own_values_win_over_the_profile_and_that_over_the_model(configured: Server, client: OpenAI) -> None:
    assert chat_length(client) == triton_length(configured) == 7
    assert chat_length(client, extra_body={"profile": "long"}) == triton_length(configured, profile="long") == 9
    assert chat_length(client, max_completion_tokens=3, extra_body={"profile": "long"}) == 3
    assert triton_length(configured, max_tokens=3, profile="long") == 3


def test_defaults_win_over_the_model_and_profiles_over_the_defaults(configured: Server, client: OpenAI) -> None:
    def by_openai(**values: Any) -> str:
        return str(client.completions.create(model="llm", prompt="Hello", max_tokens=30, **values).choices[0].text)

    def by_triton(**values: Any) -> str:
        body = configured.generate("Hello", max_tokens=30, exclude_input_in_output=True, **values).body
        return str(body["text_output"])

    steady = by_openai()
    assert steady == by_openai() == by_triton() == by_triton()
    assert by_openai(extra_body={"profile": "wild"}) != steady
    assert by_triton(profile="wild") != steady
    assert by_openai(temperature=0, extra_body={"profile": "wild"}) == steady
    assert by_triton(temperature=0, profile="wild") == steady


def test_responses_obey_too(client: OpenAI) -> None:
    usage = client.responses.create(model="llm", input="Hello", extra_body={"profile": "long"}).usage
    assert usage is not None
    assert usage.output_tokens == 9


def test_an_unknown_profile_is_the_clients_error_and_names_those_that_there_are(
    configured: Server, client: OpenAI
) -> None:
    words = "unknown sampling profile 'short'; allowed: long, wild"
    answer = configured.generate(profile="short")
    assert (answer.status, answer.error) == (400, words)
    for ask in (client.chat.completions, client.completions):
        given: dict[str, Any] = {"messages": HELLO} if ask is client.chat.completions else {"prompt": "Hello"}
        with pytest.raises(openai.BadRequestError, match=words):
            ask.create(model="llm", **given, extra_body={"profile": "short"})


def test_the_key_guards_vllms_server_and_nothing_else(configured: Server) -> None:
    for key in ("", "wrong"):
        stranger = OpenAI(base_url=f"http://127.0.0.1:{configured.front_port}/v1", api_key=key or "x", max_retries=0)
        with pytest.raises(openai.AuthenticationError):
            stranger.models.list()
    for path in ("/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize"):
        body = {"model": "llm", "prompt": "Hello", "messages": HELLO, "tokens": [5]}
        assert configured.request("POST", path, body, port=configured.front_port).status == 401
    for path in ("/health/ready", "/health/live", "/report"):
        assert configured.request("GET", path, port=configured.front_port).status == 200
    assert configured.generate(max_tokens=1).status == 200
    assert KEY not in configured.log


def test_the_right_key_opens_it(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["llm"]


def test_limits_hold_for_both_protocols(configured: Server, client: OpenAI) -> None:
    assert "'n' must be at most 2, not 3" in configured.generate(n=3).error
    with pytest.raises(openai.BadRequestError, match="'n' must be at most 2, not 3"):
        client.completions.create(model="llm", prompt="Hello", n=3)
    with pytest.raises(openai.BadRequestError, match="10001 bytes of text; at most 10000"):
        client.completions.create(model="llm", prompt="a" * 10_001)
    with pytest.raises(openai.APIStatusError, match="larger than 50000 bytes") as error:
        client.completions.create(model="llm", prompt="Hello", extra_body={"x": "a" * 60_000})
    assert error.value.status_code == 413


def test_throughput_is_logged_and_with_it_dropped_what_the_engine_keeps_for_it(configured: Server) -> None:
    assert configured.generate(max_tokens=30).status == 200
    wait_until(lambda: "Avg generation throughput" in configured.log, 30)


def idle(server: Server) -> bool:
    return server.metric("vllm:num_requests_running") + server.metric("vllm:num_requests_waiting") == 0


def test_a_request_that_takes_too_long_ends_with_an_error(configured: Server, client: OpenAI) -> None:
    told = f"the request took longer than its limit of {SECONDS} seconds"
    begun = time.monotonic()
    answer = configured.generate(**ENDLESS)
    assert time.monotonic() - begun < SECONDS + 20
    assert answer.status >= 400
    assert told in answer.error
    with pytest.raises(openai.BadRequestError, match=told):
        client.chat.completions.create(model="llm", messages=HELLO, max_tokens=30_000)
    wait_until(lambda: idle(configured), 30)


def test_a_stream_that_takes_too_long_ends_with_an_error(configured: Server, client: OpenAI) -> None:
    stream = client.completions.create(model="llm", prompt="Hello", max_tokens=30_000, stream=True)
    with pytest.raises(openai.APIError, match="took longer than its limit"):
        for _ in stream:
            pass
    wait_until(lambda: idle(configured), 30)


def test_an_abandoned_generate_costs_no_more_than_the_limit(configured: Server) -> None:
    """tritonserver does not see that the client of a plain generate has gone before it writes the answer."""
    body = json.dumps({"text_input": "Hello", **ENDLESS}).encode()
    head = f"POST /v2/models/llm/generate HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", configured.http_port)) as connection:
        connection.sendall(head.encode() + body)
        wait_until(lambda: configured.metric("vllm:num_requests_running") == 1, 30)
        begun = time.monotonic()
    wait_until(lambda: idle(configured), SECONDS + 30)
    assert time.monotonic() - begun < SECONDS + 20
    assert configured.generate(max_tokens=1).status == 200
