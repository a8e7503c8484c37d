"""The contract in short, with the newest vLLM and with the one before it.

The other tests run the newest; these are the ones that would show when the two need different code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from backend.engine.proof import GRAMMAR, KINDS
from testing.server import TINY_ENGINE, Server, pinned_engine, running, tiny_model, wait_until, write_model

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

GREEDY = {"max_tokens": 8, "temperature": 0, "ignore_eos": True}
HELLO = [{"role": "user", "content": "Hello"}]
BOTH_PATHS = pytest.mark.parametrize(
    ("path", "given"), [("/v1/completions", {"prompt": "Hello"}), ("/v1/chat/completions", {"messages": HELLO})]
)


@pytest.fixture(scope="module", params=["cpu", "cpu-previous"])
def version(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """A server and the version of the engine that its requirements pin. The newest is the one of all other tests."""
    expected = pinned_engine(request.param)
    if request.param == "cpu":
        yield request.getfixturevalue("server"), expected
        return
    folder = tmp_path_factory.mktemp("previous")
    engine = {**TINY_ENGINE, "model": str(tiny_model()), "enable_lora": True, "max_lora_rank": 8}
    # As the newest has it: the other backend finds an answer to the grammar that is refused below.
    engine["structured_outputs_config"] = {"backend": "xgrammar"}
    adapters = {"poet": str(tiny_model("lora"))}
    sampling = {"profiles": {"short": {"max_tokens": 3}}}
    write_model(folder / "models", "llm", engine, multi_lora=adapters, sampling=sampling, openai={})
    with running(folder, folder / "models", variant=request.param) as started:
        yield started, expected


@pytest.fixture
def any_server(version: tuple[Server, str]) -> Server:
    return version[0]


def test_version_is_said_at_start(version: tuple[Server, str]) -> None:
    server, expected = version
    phases = {line["phase"]: line for line in server.report()}
    assert phases["EngineArguments"]["vllm"] == phases["Serving"]["vllm"]
    assert phases["Serving"]["vllm"].split("+")[0] == expected
    assert phases["KVCache"]["kvCacheTokens"] > 0


def test_paths_of_the_openai_port(version: tuple[Server, str]) -> None:
    server, expected = version
    body = {"model": "llm", "messages": HELLO, "max_tokens": 4}
    message = server.request("POST", "/v1/messages", body, port=server.front_port)
    assert message.status == 200, message
    assert message.body["content"][0]["type"] == "text"
    assert server.request("GET", "/v1/models/llm", port=server.front_port).body["id"] == "llm"
    assert server.request("GET", "/version", port=server.front_port).body["version"].split("+")[0] == expected
    assert "vllm:num_requests_running{" in str(server.request("GET", "/metrics", port=server.front_port).body)


def test_everything_that_a_request_may_ask_is_proven_at_start(any_server: Server) -> None:
    (proof,) = [line for line in any_server.report() if line["phase"] == "Proof"]
    assert set(proof["proven"]) == {*KINDS, GRAMMAR, "adapter poet"}


def test_generate(any_server: Server) -> None:
    wanted = {"return_finish_reason": True, "return_num_output_tokens": True, "return_logprobs": True, "logprobs": 1}
    answer = any_server.generate("Hello", **GREEDY, **wanted)
    assert answer.status == 200, answer
    assert answer.body["text_output"].startswith("Hello")
    assert (answer.body["finish_reason"], answer.body["num_output_tokens"]) == ("length", 8)
    assert len(json.loads(answer.body["logprobs"])) == 8


def test_stream_is_the_same_text(any_server: Server) -> None:
    full = any_server.generate(exclude_input_in_output=True, **GREEDY).body["text_output"]
    events = any_server.stream(**GREEDY)
    assert len(events) > 1
    assert "".join(event["text_output"] for event in events) == full


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"tempature": 1}, ["'tempature'", "temperature"]),
        ({"top_p": 2.0}, ["top_p"]),
        ({"structured_outputs": '{"regex": "("}'}, ["regex"]),
        ({"lora_name": "unknown"}, ["unknown"]),
        ({"embedding_request": '{"input": "x"}'}, ["embeddings"]),
    ],
)
def test_client_faults(any_server: Server, body: dict[str, Any], words: list[str]) -> None:
    answer = any_server.generate(**body)
    assert answer.status == 400, answer
    for word in words:
        assert word in answer.error


@BOTH_PATHS
def test_grammar_that_no_text_follows_is_the_clients_fault(
    any_server: Server, path: str, given: dict[str, Any]
) -> None:
    body = {"model": "llm", "max_tokens": 4, "structured_outputs": {"grammar": "root ::= root"}, **given}
    answer = any_server.request("POST", path, body, port=any_server.front_port)
    assert answer.status == 400, answer
    assert "'structured_outputs'" in answer.body["error"]["message"]


@BOTH_PATHS
def test_stream_with_such_a_grammar_ends_as_the_clients_fault(
    any_server: Server, path: str, given: dict[str, Any]
) -> None:
    body = {
        "model": "llm",
        "max_tokens": 4,
        "structured_outputs": {"grammar": "root ::= root"},
        "stream": True,
        **given,
    }
    answer = any_server.request("POST", path, body, port=any_server.front_port)
    events = [line.removeprefix("data: ") for line in str(answer.body).splitlines() if line]
    assert events[-1] == "[DONE]"
    error = json.loads(events[-2])["error"]
    assert error["code"] == 400, answer
    assert "'structured_outputs'" in error["message"]


def test_profile_and_adapter(any_server: Server) -> None:
    answer = any_server.generate(profile="short", ignore_eos=True, return_num_output_tokens=True)
    assert answer.body["num_output_tokens"] == 3
    assert any_server.generate(lora_name="poet", **GREEDY).status == 200


def test_metrics(any_server: Server) -> None:
    any_server.generate(**GREEDY)
    wait_until(lambda: any_server.metric("vllm:generation_tokens_total") >= 8, 20)
    names = {series.split("{")[0] for series in any_server.metrics()}
    assert {"vllm:num_requests_running", "vllm:kv_cache_usage_perc", "vllm:time_to_first_token_seconds_count"} <= names


def test_openai(any_server: Server) -> None:
    body = {"model": "llm", "messages": HELLO, "max_tokens": 5, "ignore_eos": True}
    answer = any_server.request("POST", "/v1/chat/completions", body, port=any_server.front_port)
    assert answer.status == 200, answer
    assert answer.body["usage"]["completion_tokens"] == 5
    stream = any_server.request("POST", "/v1/chat/completions", {**body, "stream": True}, port=any_server.front_port)
    assert str(stream.body).rstrip().endswith("data: [DONE]")


def test_health_and_report(any_server: Server) -> None:
    assert any_server.health().status == 200
    assert any_server.request("GET", "/report", port=any_server.front_port).body["model"] == "llm"
