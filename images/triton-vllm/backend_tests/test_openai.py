"""OpenAI's protocol on the port of our own, from the engine that serves Triton's protocols, by OpenAI's own client."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI

from backend.patches.middleware_stack import UNUSED
from testing.server import Answer, Server, pinned_engine, script_lines

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

HELLO: Any = [{"role": "user", "content": "Hello"}]
NO_END = {"ignore_eos": True}
DRINK = {
    "type": "object",
    "properties": {"size": {"enum": ["small", "large"]}, "hot": {"type": "boolean"}},
    "required": ["size", "hot"],
    "additionalProperties": False,
}
TOOLS: Any = [
    {"type": "function", "function": {"name": name, "parameters": DRINK, "strict": True}}
    for name in ("make_tea", "make_coffee")
]


APPLICATION = """
import gc, os
from backend.engine.async_llm import finish_start
from backend.openai.application import make_application
from vllm import envs
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser

arguments = make_arg_parser(FlexibleArgumentParser()).parse_args([])
plain, ours = (build(arguments, ("generate",), None) for build in (build_app, make_application))
finish_start()
os.environ["VLLM_LOG_STATS_INTERVAL"] = "77"
for application in (plain, ours):
    print(*(one.cls.__name__ for one in application.user_middleware))
print(*(route.path for route in ours.router.routes[:2] if route.endpoint.__module__ == "backend.patches.direct_routes"))
print(gc.get_freeze_count() > 0, envs.VLLM_LOG_STATS_INTERVAL == 77)
"""


@pytest.fixture
def client(server: Server) -> OpenAI:
    return OpenAI(base_url=f"http://127.0.0.1:{server.front_port}/v1", api_key="none", max_retries=0)


def post(server: Server, path: str, **body: Any) -> Answer:
    return server.request("POST", path, body, port=server.front_port)


def is_drink(text: str) -> bool:
    drink = json.loads(text)
    return set(drink) == {"size", "hot"} and drink["size"] in ("small", "large") and isinstance(drink["hot"], bool)


def test_models_are_the_deployment_and_its_adapters(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["llm", "org/tiny-llama", "poet"]


@pytest.mark.parametrize("name", ["llm", "org/tiny-llama", "poet"])
def test_a_model_is_retrieved_and_used_by_each_of_its_names(client: OpenAI, server: Server, name: str) -> None:
    assert client.models.retrieve(name).id == name
    assert server.request("GET", f"/v1/models/{name}", port=server.front_port).body["id"] == name
    # As in vLLM's own server, an answer has the first name of the model.
    used = client.completions.create(model=name, prompt="Hello", max_tokens=2).model
    assert used == ("poet" if name == "poet" else "llm")


def test_a_model_that_there_is_not_is_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="org/other"):
        client.models.retrieve("org/other")


def test_what_clients_of_vllms_server_ask_first(server: Server) -> None:
    def get(path: str) -> Answer:
        return server.request("GET", path, port=server.front_port)

    assert (get("/health").status, get("/health").body) == (200, {"ready": True})
    assert get("/version").body == {"version": pinned_engine("cpu")}
    assert get("/health/proof").body == {"proven": True, "task": "generate"}
    text = str(get("/metrics").body)
    assert 'vllm:num_requests_running{engine="0",model_name="llm"}' in text
    assert "# TYPE vllm:e2e_request_latency_seconds histogram" in text


def test_messages_of_anthropics_protocol(server: Server) -> None:
    def post_message(path: str, **more: Any) -> Answer:
        return post(server, path, **{"model": "llm", "messages": HELLO, "max_tokens": 5, **more})

    full = post_message("/v1/messages", profile="short")
    assert full.status == 200, full
    assert full.body["type"] == "message"
    assert full.body["usage"]["output_tokens"] <= 5
    assert full.body["content"][0]["type"] == "text"
    events = str(post_message("/v1/messages", stream=True).body)
    assert "event: message_start" in events
    assert "event: message_stop" in events
    assert post_message("/v1/messages/count_tokens").body["input_tokens"] > 0
    before = len(server.log)
    assert post_message("/v1/messages", model="gpt-9").status == 404
    assert post_message("/v1/messages", max_tokens="secret-value").status == 400
    assert post_message("/v1/messages", messages=[{"role": "user", "content": "secret-value" * 20_000}]).status == 400
    assert "secret-value" not in server.log[before:]
    assert "Traceback" not in server.log[before:]


@pytest.mark.parametrize("variant", ["cpu", "cpu-previous"])
def test_what_no_request_needs_is_out_of_the_way(tmp_path: Path, variant: str) -> None:
    """Middleware that counts requests unread, FastAPI's machinery, the start's garbage, looks at the environment."""
    lines = script_lines(tmp_path, APPLICATION, variant=variant)
    plain, ours, short, settled = (line.split() for line in lines[-4:])
    assert ours
    assert sorted([*ours, UNUSED]) == sorted(plain)
    assert sorted(short) == ["/v1/chat/completions", "/v1/completions"]
    assert settled == ["True", "False"]


def test_chat_and_completions(server: Server, client: OpenAI) -> None:
    chat = client.chat.completions.create(model="llm", messages=HELLO, max_tokens=5, extra_body=NO_END)
    assert chat.model == "llm"
    assert chat.usage is not None
    assert chat.usage.completion_tokens == 5
    assert chat.choices[0].message.content
    text = client.completions.create(model="llm", prompt="Hello", max_tokens=8, temperature=0, extra_body=NO_END)
    ours = server.generate("Hello", max_tokens=8, temperature=0, ignore_eos=True, exclude_input_in_output=True)
    assert text.choices[0].text == ours.body["text_output"]


def test_adapter_by_its_name(client: OpenAI) -> None:
    base, poet = (
        client.completions.create(model=name, prompt="Hello", max_tokens=8, temperature=0, extra_body=NO_END)
        for name in ("llm", "poet")
    )
    assert base.choices[0].text != poet.choices[0].text


def test_stream_with_usage(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="llm",
        messages=HELLO,
        max_tokens=6,
        stream=True,
        stream_options={"include_usage": True},
        extra_body=NO_END,
    )
    chunks = list(stream)
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 6
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "length"


def test_tools_that_must_be_called_are_called(client: OpenAI) -> None:
    # The list of calls may go on for as long as a model likes, and this one likes nothing: take one that ended.
    chats = (
        client.chat.completions.create(
            model="llm", messages=HELLO, tools=TOOLS, tool_choice="required", max_tokens=400, seed=seed
        )
        for seed in range(20)
    )
    chat = next(chat for chat in chats if chat.choices[0].finish_reason != "length")
    calls: Any = chat.choices[0].message.tool_calls
    assert {call.function.name for call in calls} <= {"make_tea", "make_coffee"}
    assert all(is_drink(call.function.arguments) for call in calls)


def test_a_named_tool_is_called(client: OpenAI) -> None:
    chosen: Any = {"type": "function", "function": {"name": "make_coffee"}}
    chat = client.chat.completions.create(model="llm", messages=HELLO, tools=TOOLS, tool_choice=chosen, max_tokens=200)
    [call] = chat.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "make_coffee"
    assert is_drink(call.function.arguments)


def test_structured_output_has_its_schema(client: OpenAI) -> None:
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "drink", "schema": DRINK, "strict": True}}
    chat = client.chat.completions.create(model="llm", messages=HELLO, response_format=wanted, max_tokens=200)
    assert is_drink(chat.choices[0].message.content or "")


def test_tokenize_and_back(server: Server) -> None:
    tokens = post(server, "/tokenize", model="llm", prompt="Hello").body["tokens"]
    assert post(server, "/detokenize", model="llm", tokens=tokens).body["prompt"].endswith("Hello")


def test_a_wrong_model_is_named(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="gpt-9"):
        client.chat.completions.create(model="gpt-9", messages=HELLO)


@pytest.mark.parametrize("path", ["/pause", "/scale_elastic_ep", "/invocations", "/docs", "/openapi.json"])
def test_nothing_else_can_be_reached(server: Server, path: str) -> None:
    for method in ("GET", "POST"):
        answer = server.request(method, path, {} if method == "POST" else None, port=server.front_port)
        assert answer.status == 404
        assert "/v1/chat/completions" in answer.error


def test_profiles_are_the_same_for_both_protocols(server: Server, client: OpenAI) -> None:
    short = client.completions.create(model="llm", prompt="Hello", extra_body={**NO_END, "profile": "short"})
    ours = server.generate("Hello", profile="short", ignore_eos=True, exclude_input_in_output=True)
    assert short.choices[0].text == ours.body["text_output"]
    with pytest.raises(openai.BadRequestError, match="unknown sampling profile 'shrot'; allowed: long, short"):
        client.chat.completions.create(model="llm", messages=HELLO, extra_body={"profile": "shrot"})


def test_both_protocols_at_once(server: Server, client: OpenAI) -> None:
    done: list[bool] = []

    def by_openai() -> None:
        chat = client.chat.completions.create(model="llm", messages=HELLO, max_tokens=60, extra_body=NO_END)
        done.append(chat.usage is not None and chat.usage.completion_tokens == 60)

    def by_triton() -> None:
        done.append(server.generate(max_tokens=60, ignore_eos=True).status == 200)

    threads = [threading.Thread(target=target) for target in (by_openai, by_triton) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [True] * 20


@pytest.mark.parametrize("value", [7, "x", ["x"]])
def test_parameter_that_vllms_checks_stumble_over_is_the_clients_fault(server: Server, value: Any) -> None:
    before = len(server.log)
    answer = post(server, "/v1/chat/completions", model="llm", messages=HELLO, structured_outputs=value)
    assert answer.status == 400, answer
    assert "Traceback" not in server.log[before:]
