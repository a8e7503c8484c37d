"""What a request asks for is done or rejected, in the protocol's own words, and every answer is valid JSON."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from testing.server import CONTEXT, ENDLESS, TINY_ENGINE, Answer, Server, running, tiny_model, wait_until, write_model

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

KEY, ORIGIN = "a key", "https://app.example"
RUNNING = 2
PROMPT = "the quick brown fox jumps over the lazy dog"
SCHEMA = {"name": "a", "schema": {"type": "object"}, "strict": True}
CHOICE = {"choice": ["yes", "no"]}
HELLO = [{"role": "user", "content": "Hello"}]
PROMPTS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": HELLO},
    "/v1/completions": {"prompt": "Hello"},
    "/v1/responses": {"input": "Hello"},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A model with a reasoning parser, processed log probabilities, priorities, a key, and one other origin.

    Its tokenizer begins every prompt with `<s>`, and two requests run at once.
    """
    folder = tmp_path_factory.mktemp("thinker")
    model = folder / "model"
    shutil.copytree(tiny_model(), model)
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    # Beyond the model's vocabulary: it cannot generate them.
    tokenizer["added_tokens"] += [
        {"id": 384 + n, "content": each, **plain} for n, each in enumerate(("<think>", "</think>"))
    ]
    begin, text = {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [begin, text],
        "pair": [begin, text, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}},
    }
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    engine = {**TINY_ENGINE, "model": str(model), "reasoning_parser": "qwen3", "logprobs_mode": "processed_logprobs"}
    engine |= {"scheduling_policy": "priority", "max_num_seqs": RUNNING}
    write_model(folder / "models", "llm", engine, openai={"allowed_origins": [ORIGIN]})
    with running(folder, folder / "models", VLLM_API_KEY=KEY) as started:
        yield started


def openai(server: Server, path: str, body: Any = None, method: str = "POST", **headers: str) -> tuple[Answer, Any]:
    """A request with the key and an origin; the answer, and its headers."""
    data = None if body is None else json.dumps({"model": "llm", **PROMPTS.get(path, {}), **body}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{server.front_port}{path}", data=data, method=method)
    given = {"content-type": "application/json", "authorization": f"Bearer {KEY}", "origin": ORIGIN, **headers}
    for name, value in given.items():
        request.add_header(name, value)
    try:
        with urllib.request.urlopen(request, timeout=300) as response:
            text = response.read().decode()
            return Answer(response.status, strict(text) if text.startswith("{") else text), response.headers
    except urllib.error.HTTPError as error:
        text = error.read().decode()
        return Answer(error.code, strict(text) if text.startswith("{") else text), error.headers


def strict(text: str) -> Any:
    """JSON as JavaScript reads it."""

    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is not JSON: {text[:300]}")

    return json.loads(text, parse_constant=refuse)


def test_a_grammar_holds_although_the_model_may_reason(server: Server) -> None:
    sampling = json.dumps({"structured_outputs": CHOICE, "max_tokens": 8})
    answer = server.generate(sampling_parameters=sampling, exclude_input_in_output=True)
    assert answer.body["text_output"] in CHOICE["choice"], answer
    completion, _ = openai(server, "/v1/completions", {"structured_outputs": CHOICE, "max_tokens": 8})
    assert completion.body["choices"][0]["text"] in CHOICE["choice"], completion


@pytest.mark.parametrize("path", PROMPTS)
@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"guided_json": {"type": "object"}}, '"structured_outputs": {"json": SCHEMA}'),
        ({"guided_choice": ["a", "b"]}, '"structured_outputs": {"choice": [TEXT, ...]}'),
        ({"temperatures": 0}, "did you mean 'temperature'?"),
        ({"lora_name": "poet"}, "the adapter's name as 'model'"),
    ],
)
def test_unknown_fields_are_rejected_with_the_right_name(
    server: Server, path: str, extra: dict[str, Any], words: str
) -> None:
    answer, _ = openai(server, path, extra)
    assert (answer.status, words in answer.body["error"]["message"]) == (400, True), answer


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"max_completion_tokens": 5}, "write max_tokens"),
        ({"guided_choice": "x"}, 'write "structured_outputs": {"choice"'),
        ({"temperatures": 0}, "did you mean 'temperature'?"),
    ],
)
def test_unknown_sampling_parameters_of_generate_name_the_right_one(
    server: Server, given: dict[str, Any], words: str
) -> None:
    answer = server.generate(**given)
    assert (answer.status, words in answer.error) == (400, True), answer


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/v1/completions", {"authorization": "Bearer x"}, 401),
        ("GET", "/v1/models", {"authorization": ""}, 401),
        ("GET", "/v1/nothing", {}, 404),
        ("POST", "/pause", {}, 404),
        ("POST", "/v1/completions", {}, 400),
    ],
)
def test_errors_have_openais_form_and_may_be_read_by_the_origin(
    server: Server, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer, sent = openai(server, path, {"zzz": 1} if method == "POST" else None, method, **headers)
    assert (answer.status, answer.body["error"]["code"]) == (status, status), answer
    assert answer.body["error"]["message"]
    assert sent["access-control-allow-origin"] == ORIGIN
    _, others = openai(
        server, path, {"zzz": 1} if method == "POST" else None, method, **headers, origin="https://other"
    )
    assert others["access-control-allow-origin"] is None


def test_a_preflight_needs_no_key(server: Server) -> None:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    answer, sent = openai(server, "/v1/completions", None, "OPTIONS", authorization="", **asked)
    assert (answer.status, sent["access-control-allow-origin"]) == (200, ORIGIN)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"logprobs": 5, "top_k": 1, "temperature": 1.0}),
        ("/v1/completions", {"logprobs": 5, "top_k": 1, "temperature": 1.0, "stream": True}),
        ("/v1/completions", {"prompt_logprobs": 5, "logprobs": 2, "logit_bias": {"7": -100}}),
        ("/v1/chat/completions", {"logprobs": True, "top_logprobs": 5, "top_k": 1, "temperature": 1.0}),
    ],
)
def test_log_probabilities_of_the_openai_port_are_valid_json(server: Server, path: str, body: dict[str, Any]) -> None:
    answer, _ = openai(server, path, {**body, "max_tokens": 4})
    assert answer.status == 200, answer
    for line in str(answer.body).splitlines() if isinstance(answer.body, str) else ():
        if line.startswith("data: {"):
            strict(line.removeprefix("data: "))


def test_log_probabilities_of_generate_are_valid_json(server: Server) -> None:
    sampling = json.dumps({"logprobs": 5, "top_k": 1, "temperature": 1.0, "max_tokens": 4})
    asked = {"return_logprobs": True, "return_cumulative_logprob": True}
    answer = server.generate(sampling_parameters=sampling, **asked)
    assert answer.status == 200, answer
    values = [entry["logprob"] for token in strict(answer.body["logprobs"]) for entry in token.values()]
    assert -9999.0 in values


def test_the_sum_of_log_probabilities_needs_no_other_parameter(server: Server) -> None:
    body = {"text_input": "Hello", "max_tokens": 2, "return_cumulative_logprob": True}
    url = f"http://127.0.0.1:{server.http_port}/v2/models/llm/generate"
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode()), timeout=300) as response:
        assert strict(response.read().decode())["cumulative_logprob"] < 0


def test_tritons_timeout_ends_a_request(server: Server) -> None:
    begun = time.monotonic()
    answer = server.generate(parameters={"timeout": 1_000_000, "max_tokens": 30_000, "ignore_eos": True})
    assert answer.status >= 400, answer
    assert "longer than its limit of 1 seconds" in answer.error
    assert time.monotonic() - begun < 60
    assert server.generate(parameters={"timeout": -5}).status == 400
    assert server.generate(parameters={"timeout": 300_000_000, "max_tokens": 1}).status == 200


def test_an_image_for_a_model_that_reads_text_says_so(server: Server) -> None:
    answer = server.generate(image="aGVsbG8=")
    assert (answer.status, "reads text only" in answer.error) == (400, True), answer


def prompt_of(server: Server, **sampling: Any) -> list[str]:
    """The tokens of the prompt as the engine has read them; the first has no log probability, and is not among them."""
    asked = json.dumps({"prompt_logprobs": 0, "max_tokens": 1, **sampling})
    answer = server.generate(PROMPT, sampling_parameters=asked, return_num_input_tokens=True)
    assert answer.status == 200, answer
    first, *rest = strict(answer.body["prompt_logprobs"])
    assert first is None
    assert len(rest) + 1 == answer.body["num_input_tokens"]
    return [next(iter(position.values()))["decoded_token"] for position in rest]


def test_a_prompt_is_read_as_the_request_asks(server: Server) -> None:
    whole = prompt_of(server)
    assert "".join(whole) == PROMPT
    assert prompt_of(server, add_special_tokens=False) == whole[1:]
    assert prompt_of(server, truncate_prompt_tokens=3, truncation_side="left") == whole[-2:]
    assert prompt_of(server, truncate_prompt_tokens=3, truncation_side="right") == whole[:2]
    assert prompt_of(server, truncate_prompt_tokens=-1) == whole


def test_a_prompt_beyond_the_context_is_cut_to_what_leaves_room_for_an_answer(server: Server) -> None:
    asked = {"truncate_prompt_tokens": -1, "max_tokens": 4, "return_num_input_tokens": True}
    answer = server.generate("word " * 10_000, **asked)
    assert (answer.status, answer.body.get("num_input_tokens")) == (200, CONTEXT - 1), answer


def test_log_probabilities_of_a_prompt_come_with_the_first_response_of_a_stream(server: Server) -> None:
    events = server.stream(PROMPT, prompt_logprobs=1, max_tokens=5, ignore_eos=True)
    assert ["prompt_logprobs" in event for event in events] == [True] + [False] * (len(events) - 1)
    assert len(events) > 1
    assert "prompt_logprobs" not in server.generate(PROMPT, max_tokens=1).body


@pytest.mark.parametrize("door", ["generate", *PROMPTS])
def test_requests_of_a_lower_number_run_first(server: Server, door: str) -> None:
    """Two requests run, and one leaves; of two that wait, the one that came last is the more urgent.

    They are long, so that the answers come apart by more than the time in which a client's thread gets its turn.
    """
    order: list[int] = []

    def ask(priority: int) -> None:
        if door == "generate":
            assert server.generate(priority=priority, max_tokens=200).status == 200
        else:
            length = "max_output_tokens" if door == "/v1/responses" else "max_tokens"
            assert openai(server, door, {"priority": priority, length: 200})[0].status == 200
        order.append(priority)

    def stream() -> Any:
        body = json.dumps({"text_input": "Hello", "stream": True, **ENDLESS}).encode()
        return urllib.request.urlopen(f"http://127.0.0.1:{server.http_port}/v2/models/llm/generate_stream", body)

    def state() -> tuple[float, float]:
        return server.metric("vllm:num_requests_running"), server.metric("vllm:num_requests_waiting")

    with ThreadPoolExecutor(2) as pool, contextlib.ExitStack() as running:
        first, *_ = [running.enter_context(contextlib.closing(stream())) for _ in range(RUNNING)]
        wait_until(lambda: state() == (RUNNING, 0), shown=state)
        waiting = [pool.submit(ask, 7)]
        wait_until(lambda: state() == (RUNNING, 1), shown=state)
        waiting.append(pool.submit(ask, -7))
        wait_until(lambda: state() == (RUNNING, 2), shown=state)
        first.close()
        for each in waiting:
            each.result()
    assert order == [-7, 7]


@pytest.mark.parametrize(
    ("path", "extra", "words"),
    [
        ("/v1/chat/completions", {"response_format": {"type": "json_object", "schema": {}}}, '"json_schema": {"name"'),
        ("/v1/chat/completions", {"stream": True, "stream_options": {"include_usag": True}}, "'include_usage'"),
        ("/v1/completions", {"structured_outputs": {"jsn": {}}}, "did you mean 'json'?"),
        ("/v1/completions", {"watermarking": True}, "watermark_config"),
        ("/v1/completions", {"kv_transfer_params": {"do_remote_decode": True}}, "no connector"),
        ("/v1/completions", {"length_penalty": 2}, "use_beam_search"),
        ("/v1/responses", {"tools": [{"type": "web_search_preview"}]}, "'web_search_preview'"),
        ("/v1/responses", {"text": {"verbosity": "low"}}, "'text.verbosity' has no effect"),
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
            "reads text only",
        ),
    ],
)
def test_what_vllm_would_ignore_is_rejected(server: Server, path: str, extra: dict[str, Any], words: str) -> None:
    answer, _ = openai(server, path, extra)
    assert (answer.status, words in answer.body["error"]["message"]) == (400, True), answer


@pytest.mark.parametrize(
    ("path", "extra"),
    [
        ("/v1/chat/completions", {"stream": True, "stream_options": {"include_usage": True}}),
        ("/v1/chat/completions", {"response_format": {"type": "json_schema", "json_schema": SCHEMA}}),
        ("/v1/completions", {"use_beam_search": True, "length_penalty": 2, "n": 2}),
        ("/v1/completions", {"watermarking": False, "priority": 0, "mm_payload": "tensors"}),
        ("/v1/completions", {"structured_outputs": {"regex": "a"}, "repetition_detection": {"max_pattern_size": 0}}),
        (
            "/v1/responses",
            {"text": {"verbosity": "medium", "format": {"type": "text"}}, "reasoning": {"effort": "low"}},
        ),
        ("/v1/responses", {"text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}}}}),
    ],
)
def test_what_vllm_does_is_taken(server: Server, path: str, extra: dict[str, Any]) -> None:
    length = "max_output_tokens" if path == "/v1/responses" else "max_tokens"
    answer, _ = openai(server, path, {length: 4, **extra})
    assert answer.status == 200, answer


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b'{"prompt": "h\xe9"}', {}, 400),
        (b"{}", {"content-encoding": "gzip"}, 415),
        (b"{}", {"content-type": "text/plain"}, 400),
        (b'{"prompt": "\\ud800"}', {}, 400),
        (b"[]", {}, 400),
    ],
)
def test_bodies_that_are_none_have_openais_error(
    server: Server, body: bytes, headers: dict[str, str], status: int
) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{server.front_port}/v1/completions", data=body)
    for name, value in ({"content-type": "application/json", "authorization": f"Bearer {KEY}"} | headers).items():
        request.add_header(name, value)
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(request, timeout=300)
    found = strict(error.value.read().decode())["error"]
    assert (error.value.code, found["code"], bool(found["message"])) == (status, status, True)
