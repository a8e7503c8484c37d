"""The contract of the stock vLLM backend, seen by its clients through the real tritonserver."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from backend.container.resources import read_limits
from backend.triton.stream_pacing import responses_per_second
from contract.tensors import INPUTS, OUTPUTS
from testing.grpc_stream import GrpcStream
from testing.server import CONTEXT, Server

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

# The same text every time; a random model never ends by itself within these lengths.
GREEDY = {"temperature": 0, "ignore_eos": True}
WORDS = "héllo wörld, 日本語 🙂"


def greedy(server: Server, tokens: int = 8, **body: Any) -> str:
    """The model's own text, without the prompt."""
    answer = server.generate(max_tokens=tokens, exclude_input_in_output=True, **GREEDY, **body)
    assert answer.status == 200, answer
    return str(answer.body["text_output"])


def only_choice(text: str, **more: Any) -> str:
    """Sampling parameters with which the engine can say nothing but `text`."""
    return json.dumps({"structured_outputs": {"choice": [text]}, "max_tokens": 100, **more})


def test_configuration_is_completed(server: Server) -> None:
    config = server.request("GET", "/v2/models/llm/config").body
    inputs = {t["name"]: (t["data_type"], t["dims"], t["optional"]) for t in config["input"]}
    assert inputs == {name: (kind, [dims], optional) for name, kind, dims, optional in INPUTS}
    outputs = {t["name"]: (t["data_type"], t["dims"]) for t in config["output"]}
    assert outputs == {name: (kind, [dims]) for name, kind, dims in OUTPUTS}
    assert config["model_transaction_policy"]["decoupled"] is True
    assert config["max_batch_size"] == 0


def test_full_answer_has_the_prompt_first_and_16_tokens(server: Server) -> None:
    answer = server.generate("Hello", ignore_eos=True, return_num_output_tokens=True)
    assert answer.status == 200
    assert set(answer.body) == {"model_name", "model_version", "text_output", "num_output_tokens"}
    assert answer.body["text_output"].startswith("Hello")
    assert answer.body["num_output_tokens"] == 16


def test_id_comes_back(server: Server) -> None:
    assert server.generate(id="seven", max_tokens=1).body["id"] == "seven"


def test_prompt_is_left_out_when_asked(server: Server) -> None:
    assert server.generate(max_tokens=8, **GREEDY).body["text_output"] == "Hello" + greedy(server)


def test_stream_is_the_same_text_without_the_prompt(server: Server) -> None:
    events = server.stream(max_tokens=8, **GREEDY)
    assert "".join(event["text_output"] for event in events) == greedy(server)
    assert len(events) > 1


def test_many_streams_keep_their_pace_and_lose_nothing(server: Server) -> None:
    streams, tokens = 16, 100
    with ThreadPoolExecutor(streams) as pool:
        began = time.monotonic()
        asked = {"max_tokens": tokens, "return_num_output_tokens": True, **GREEDY}
        answers = list(pool.map(lambda _: server.stream(**asked), range(streams)))
        seconds = time.monotonic() - began
    for events in answers:
        assert sum(event["num_output_tokens"] for event in events) == tokens
    # The first and the last of each wait for nothing.
    most = seconds * responses_per_second(read_limits().threads) + 2 * streams
    assert sum(map(len, answers)) <= most


def test_stream_over_the_other_door_sends_one_event(server: Server) -> None:
    answer = server.request("POST", "/v2/models/llm/generate_stream", {"text_input": "Hello", "max_tokens": 8} | GREEDY)
    assert json.loads(answer.body.removeprefix("data: "))["text_output"] == "Hello" + greedy(server)


def test_prompt_cannot_be_asked_for_in_a_stream(server: Server) -> None:
    body = {"text_input": "Hello", "stream": True, "exclude_input_in_output": False}
    answer = server.request("POST", "/v2/models/llm/generate_stream", body)
    assert answer.status == 400
    assert "When streaming, `exclude_input_in_output` = False is not allowed." in answer.error


@pytest.mark.parametrize("value", [5, "5", 5.0])
def test_numbers_may_come_as_text(server: Server, value: Any) -> None:
    by_parameter = server.generate(max_tokens=value, ignore_eos=True, return_num_output_tokens=True)
    text = json.dumps({"max_tokens": value, "ignore_eos": True})
    by_tensor = server.generate(sampling_parameters=text, return_num_output_tokens=True)
    assert by_parameter.body["num_output_tokens"] == by_tensor.body["num_output_tokens"] == 5


def test_parameters_may_be_nested(server: Server) -> None:
    parameters = {"max_tokens": 4, "ignore_eos": True, "return_num_output_tokens": True}
    answer = server.generate(parameters=parameters)
    assert answer.body["num_output_tokens"] == 4


def test_tensor_wins_over_parameters_and_they_are_not_merged(server: Server) -> None:
    tensor = json.dumps({"ignore_eos": True})
    answer = server.generate(sampling_parameters=tensor, max_tokens=3, return_num_output_tokens=True)
    assert answer.body["num_output_tokens"] == 16


def test_max_new_tokens_is_max_tokens(server: Server) -> None:
    for body in ({"max_new_tokens": 3}, {"sampling_parameters": json.dumps({"max_new_tokens": 3})}):
        answer = server.generate(return_num_output_tokens=True, **body)
        assert answer.body["num_output_tokens"] <= 3
    both = server.generate(max_new_tokens=3, max_tokens=4)
    assert both.status == 400
    assert "'max_new_tokens'" in both.error or "'max_tokens'" in both.error


def test_several_sequences(server: Server) -> None:
    sampling = {"n": 3, "max_tokens": 6, "seed": 1, "temperature": 1.0, "ignore_eos": True}
    answer = server.generate(**sampling, return_num_output_tokens=True, return_finish_reason=True)
    assert len(answer.body["text_output"]) == 3
    assert all(text.startswith("Hello") for text in answer.body["text_output"])
    assert answer.body["num_output_tokens"] == [6, 6, 6]
    assert answer.body["finish_reason"] == ["length"] * 3
    events = server.stream(**sampling, return_num_output_tokens=True)
    assert {len(event["text_output"]) for event in events} == {3}
    assert [sum(event["num_output_tokens"][i] for event in events) for i in range(3)] == [6, 6, 6]


@pytest.mark.parametrize("as_text", [False, True], ids=["tensor", "parameter"])
def test_stop_list_by_both_doors(server: Server, as_text: bool) -> None:
    text = "one two STOP three"
    stop = {"stop": ["STOP", "never"], "structured_outputs": {"choice": [text]}, "max_tokens": 100}
    if as_text:
        body = {name: value if isinstance(value, int) else json.dumps(value) for name, value in stop.items()}
    else:
        body = {"sampling_parameters": json.dumps(stop)}
    answer = server.generate(exclude_input_in_output=True, return_finish_reason=True, **body)
    assert answer.status == 200, answer
    assert answer.body["text_output"] == "one two "
    assert answer.body["finish_reason"] == "stop"


def test_one_stop_word_as_plain_text(server: Server) -> None:
    sampling = {"stop": "two", "structured_outputs": json.dumps({"choice": ["one two three"]}), "max_tokens": 100}
    assert server.generate(exclude_input_in_output=True, **sampling).body["text_output"] == "one "


def test_stop_token_ids_and_logit_bias(server: Server) -> None:
    sampling = {"logit_bias": {"100": 100.0}, "stop_token_ids": [100], "max_tokens": 50, "temperature": 0}
    answer = server.generate(
        sampling_parameters=json.dumps(sampling), return_num_output_tokens=True, return_finish_reason=True
    )
    assert (answer.body["finish_reason"], answer.body["num_output_tokens"]) == ("stop", 1)


def test_characters_of_several_bytes_survive(server: Server) -> None:
    full = server.generate(exclude_input_in_output=True, sampling_parameters=only_choice(WORDS))
    assert full.body["text_output"] == WORDS
    events = server.stream(sampling_parameters=only_choice(WORDS))
    assert "".join(event["text_output"] for event in events) == WORDS
    assert all("\ufffd" not in event["text_output"] for event in events)


def test_prompt_of_several_bytes_comes_back(server: Server) -> None:
    assert server.generate(WORDS, max_tokens=1).body["text_output"].startswith(WORDS)


def test_extra_outputs_of_a_full_answer(server: Server) -> None:
    wanted = {
        "return_finish_reason": True,
        "return_cumulative_logprob": True,
        "return_logprobs": True,
        "return_num_input_tokens": True,
        "return_num_output_tokens": True,
    }
    body = server.generate(max_tokens=4, logprobs=2, **GREEDY, **wanted).body
    assert body["finish_reason"] == "length"
    assert body["num_output_tokens"] == 4
    assert body["num_input_tokens"] >= 1
    assert body["cumulative_logprob"] < 0
    positions = json.loads(body["logprobs"])
    assert len(positions) == 4
    for position in positions:
        assert len(position) >= 2
        for token, entry in position.items():
            assert token.isdigit()
            assert set(entry) == {"logprob", "rank", "decoded_token"}
            assert entry["logprob"] <= 0
            assert entry["rank"] >= 1


def test_extra_outputs_of_a_stream_are_deltas(server: Server) -> None:
    wanted = {"return_finish_reason": True, "return_cumulative_logprob": True, "return_logprobs": True}
    events = server.stream(max_tokens=6, logprobs=1, return_num_output_tokens=True, **GREEDY, **wanted)
    assert [event["finish_reason"] for event in events] == ["None"] * (len(events) - 1) + ["length"]
    assert sum(event["num_output_tokens"] for event in events) == 6
    assert sum(len(json.loads(event["logprobs"])) for event in events) == 6
    sums = [event["cumulative_logprob"] for event in events]
    assert sums == sorted(sums, reverse=True)


def test_logprobs_are_null_unless_sampling_asks(server: Server) -> None:
    assert server.generate(max_tokens=1, return_logprobs=True).body["logprobs"] == "null"


def test_adapter_changes_the_text(server: Server) -> None:
    assert greedy(server, lora_name="poet") != greedy(server)


def test_structured_outputs_as_text_inside_the_tensor(server: Server) -> None:
    inner = json.dumps({"regex": "[ab]{6}"})
    sampling = json.dumps({"structured_outputs": inner, "max_tokens": 20})
    text = server.generate(exclude_input_in_output=True, sampling_parameters=sampling).body["text_output"]
    assert len(text) == 6
    assert set(text) <= {"a", "b"}


def test_profiles(server: Server) -> None:
    def tokens(**body: Any) -> int:
        answer = server.generate(ignore_eos=True, return_num_output_tokens=True, **body)
        return int(answer.body["num_output_tokens"])

    assert tokens(profile="short") == 3
    assert tokens(profile="short", max_tokens=5) == 5
    sampling = json.dumps({"profile": "long", "ignore_eos": True})
    answer = server.generate(sampling_parameters=sampling, return_num_output_tokens=True)
    assert answer.body["num_output_tokens"] == 30


BAD: dict[str, tuple[dict[str, Any], list[str]]] = {
    "unknown parameter": ({"tempature": 1}, ["'tempature'", "temperature", "max_tokens", "lora_name"]),
    "unknown in the tensor": ({"sampling_parameters": '{"best_of": 2}'}, ["'best_of'", "max_tokens"]),
    "half a character": ({"sampling_parameters": '{"\\ud800": 1}'}, ["unknown sampling parameter '?'", "max_tokens"]),
    "wrong type": ({"temperature": "warm"}, ["'temperature'", "a number"]),
    "no whole number": ({"max_tokens": 1.5}, ["'max_tokens'", "an integer"]),
    "infinite": ({"sampling_parameters": '{"max_tokens": Infinity}'}, ["'max_tokens'", "an integer"]),
    "list of the wrong type": ({"sampling_parameters": '{"stop_token_ids": ["x"]}'}, ["'stop_token_ids'"]),
    "out of range": ({"top_p": 2.0}, ["top_p"]),
    "negative": ({"max_tokens": -1}, ["max_tokens"]),
    "too many sequences": ({"n": 65}, ["'n'", "64"]),
    "too many stop words": ({"sampling_parameters": json.dumps({"stop": ["a"] * 1025})}, ["'stop'", "1024"]),
    "too many logprobs": ({"logprobs": 1000}, ["logprobs"]),
    "not JSON": ({"sampling_parameters": "{"}, ["sampling_parameters", "JSON"]),
    "no object": ({"sampling_parameters": "[1]"}, ["sampling_parameters", "object"]),
    "hostile nesting": ({"sampling_parameters": "[" * 100_000}, ["sampling_parameters", "JSON"]),
    "bad grammar": ({"structured_outputs": '{"regex": "("}'}, ["regex"]),
    "unknown grammar": ({"structured_outputs": '{"poem": "x"}'}, ["'structured_outputs'", "'poem'", "regex"]),
    "grammar that only the compiler refuses": (
        {"structured_outputs": json.dumps({"grammar": 'root ::= "a" root | '})},
        ["grammar"],
    ),
    "token outside the vocabulary": ({"sampling_parameters": '{"allowed_token_ids": [99999]}'}, ["allowed_token_ids"]),
    "priority in the order of arrival": ({"priority": 1}, ["'priority'", "scheduling_policy"]),
    "no watermark": ({"watermarking": True}, ["'watermarking'", "watermark_config"]),
    "no connector": ({"extra_args": '{"kv_transfer_params": {"x": 1}}'}, ["kv_transfer_params", "no connector"]),
    "no tokens": ({"truncate_prompt_tokens": 0}, ["'truncate_prompt_tokens'", "-1"]),
    "no side": ({"truncate_prompt_tokens": 2, "truncation_side": "middle"}, ["truncation_side", "left"]),
    "unknown adapter": ({"lora_name": "unknown"}, ["LoRA unknown is not supported", "['poet']"]),
    "unknown profile": ({"profile": "unknown"}, ["'unknown'", "long, short"]),
    "image for a text model": ({"image": "aGk="}, ["image"]),
    "image that is not base64": ({"image": "%"}, ["'image'", "base64"]),
    "embedding of a text model": ({"embedding_request": '{"input": "x"}'}, ["embeddings"]),
}


@pytest.mark.parametrize("case", BAD)
def test_client_faults_name_the_parameter(server: Server, case: str) -> None:
    body, words = BAD[case]
    answer = server.generate(**body)
    assert answer.status == 400, answer
    for word in words:
        assert word in answer.error
    # What is not the client's fault is logged; only that.
    assert "request failed" not in server.log


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("", ["'text_input'", "empty"]),
        ("word " * 20_000, [str(CONTEXT)]),
        ("x" * (5 << 20), ["'text_input'", "4194304"]),
    ],
    ids=["empty", "too long", "too large"],
)
def test_bad_prompts(server: Server, prompt: str, words: list[str]) -> None:
    # 5 MiB: larger than what tritonserver takes with the usual stacks.
    for stream in (False, True):
        path = "/v2/models/llm/generate_stream" if stream else "/v2/models/llm/generate"
        answer = server.request("POST", path, {"text_input": prompt, "stream": stream})
        assert answer.status == 400, answer
        for word in words:
            assert word in answer.error


def test_full_answer_to_a_stream_request_is_refused_by_the_server(server: Server) -> None:
    answer = server.generate(stream=True, max_tokens=3)
    assert "generate expects model to produce exactly 1 response" in answer.error


def test_request_text_is_not_logged(server: Server) -> None:
    server.generate("a very private prompt", max_tokens=1)
    server.generate("a very private prompt", stop_token_ids="a very private value")
    server.generate(sampling_parameters='{"stop": 1, "x": "a very private value"}')
    assert "very private" not in server.log


def text_of(results: list[Any]) -> str:
    arrays = [result.as_numpy("text_output") for result in results]
    return b"".join(array[0] for array in arrays if array is not None).decode()


def test_grpc_stream(server: Server) -> None:
    with GrpcStream(server) as grpc:
        grpc.send(text_input="Hello", stream=True, sampling_parameters=json.dumps({"max_tokens": 8, **GREEDY}))
        results = grpc.collect()
    assert text_of(results) == greedy(server)
    assert len(results) > 1


def test_grpc_full_answer(server: Server) -> None:
    with GrpcStream(server) as grpc:
        grpc.send(text_input="Hello", sampling_parameters=json.dumps({"max_tokens": 8, **GREEDY}))
        assert text_of(grpc.collect()) == "Hello" + greedy(server)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"stream": True}, "'text_input' is missing"),
        ({"text_input": "x", "sampling_parameters": '{"best_of": 1}'}, "'best_of'"),
    ],
    ids=["no prompt", "unknown parameter"],
)
def test_grpc_errors_reach_the_client(server: Server, values: dict[str, Any], words: str) -> None:
    with GrpcStream(server) as grpc:
        grpc.send(**values)
        _, error = grpc.answers.get(timeout=60)
        assert words in str(error)


def test_infer_without_a_stream_is_refused_by_the_server(server: Server) -> None:
    tensor = {"name": "text_input", "shape": [1], "datatype": "BYTES", "data": ["x"]}
    answer = server.request("POST", "/v2/models/llm/infer", {"inputs": [tensor]})
    assert answer.status >= 400
    assert "decoupled" in answer.error
