"""OpenAI's protocol on the port of our own, from the engine that serves Triton's protocols."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from testing.server import Answer, Server

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

HELLO = [{"role": "user", "content": "Hello"}]


def post(server: Server, path: str, **body: Any) -> Answer:
    return server.request("POST", path, body, port=server.front_port)


def test_models_are_the_deployment_and_its_adapters(server: Server) -> None:
    models = server.request("GET", "/v1/models", port=server.front_port).body["data"]
    assert [model["id"] for model in models] == ["llm", "poet"]


def test_chat_and_completions(server: Server) -> None:
    chat = post(server, "/v1/chat/completions", model="llm", messages=HELLO, max_tokens=5, ignore_eos=True)
    assert chat.status == 200, chat
    assert chat.body["model"] == "llm"
    assert chat.body["usage"]["completion_tokens"] == 5
    text = post(server, "/v1/completions", model="llm", prompt="Hello", max_tokens=8, temperature=0, ignore_eos=True)
    ours = server.generate("Hello", max_tokens=8, temperature=0, ignore_eos=True, exclude_input_in_output=True)
    assert text.body["choices"][0]["text"] == ours.body["text_output"]


def test_adapter_by_its_name(server: Server) -> None:
    wanted = {"prompt": "Hello", "max_tokens": 8, "temperature": 0, "ignore_eos": True}
    base, poet = (post(server, "/v1/completions", model=name, **wanted) for name in ("llm", "poet"))
    assert base.body["choices"][0]["text"] != poet.body["choices"][0]["text"]


def test_stream_with_usage(server: Server) -> None:
    answer = post(
        server,
        "/v1/chat/completions",
        model="llm",
        messages=HELLO,
        max_tokens=6,
        ignore_eos=True,
        stream=True,
        stream_options={"include_usage": True},
    )
    lines = [line.removeprefix("data: ") for line in answer.body.splitlines() if line]
    assert lines[-1] == "[DONE]"
    assert json.loads(lines[-2])["usage"]["completion_tokens"] == 6


def test_tokenize_and_back(server: Server) -> None:
    tokens = post(server, "/tokenize", model="llm", prompt="Hello").body["tokens"]
    assert post(server, "/detokenize", model="llm", tokens=tokens).body["prompt"].endswith("Hello")


@pytest.mark.parametrize("path", ["/pause", "/scale_elastic_ep", "/invocations", "/metrics", "/docs", "/openapi.json"])
def test_nothing_else_can_be_reached(server: Server, path: str) -> None:
    for method in ("GET", "POST"):
        answer = server.request(method, path, {} if method == "POST" else None, port=server.front_port)
        assert answer.status == 404
        assert "/v1/chat/completions" in answer.error


def test_both_protocols_at_once(server: Server) -> None:
    statuses: list[int] = []

    def openai() -> None:
        wanted = {"messages": HELLO, "max_tokens": 60, "ignore_eos": True}
        statuses.append(post(server, "/v1/chat/completions", model="llm", **wanted).status)

    def triton() -> None:
        statuses.append(server.generate(max_tokens=60, ignore_eos=True).status)

    threads = [threading.Thread(target=target) for target in (openai, triton) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 20


@pytest.mark.parametrize("value", [7, "x", ["x"]])
def test_parameter_that_vllms_checks_stumble_over_is_the_clients_fault(server: Server, value: Any) -> None:
    answer = post(server, "/v1/chat/completions", model="llm", messages=HELLO, structured_outputs=value)
    assert answer.status == 400, answer
    assert "Traceback" not in server.log
