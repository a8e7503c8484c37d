"""A request for OpenAI's protocol gets its profile and the defaults, keeps the limits, and ends when its time does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.engine.sampling_parameters import SamplingRules
from backend.errors import BadRequest
from backend.openai.middleware import CHAT, COMPLETIONS, RESPONSES, BodyRules, OpenAIMiddleware
from backend.patches.checked_requests import DEFAULT_MIN_TOKENS
from backend.settings import SamplingSettings
from contract.limits import RequestLimits

SAMPLING = SamplingSettings(
    {"temperature": 0.5, "max_new_tokens": 100, "logprobs": 2}, {"exact": {"temperature": 0, "min_tokens": 3}}
)
LIMITS = RequestLimits(max_body_bytes=1000, max_prompt_bytes=20, max_n=4, max_list=3, max_logprobs=5)
COMMON = {"temperature", "stop", "n", "logprobs", "profile", "prompt_logprobs"}
NAMES = {
    CHAT: frozenset({*COMMON, "max_tokens", "max_completion_tokens", "min_tokens", "top_logprobs"}),
    COMPLETIONS: frozenset({*COMMON, "max_tokens", "min_tokens"}),
    RESPONSES: frozenset({*COMMON, "max_output_tokens"}),
}
RULES = BodyRules(NAMES, SamplingRules({}, SAMPLING, LIMITS), SAMPLING)


def applied(path: str, **body: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RULES.apply(path, json.dumps(body).encode()))
    return found


def test_own_values_win_over_the_profile_over_the_defaults() -> None:
    assert applied(COMPLETIONS) == {"temperature": 0.5, "max_tokens": 100, "logprobs": 2}
    assert applied(COMPLETIONS, profile="exact", logprobs=0, max_tokens=5) == {
        "temperature": 0,
        "max_tokens": 5,
        "logprobs": 0,
    }
    assert DEFAULT_MIN_TOKENS.get() == 3
    assert applied(CHAT, temperature=2, max_tokens=1, profile="exact")["temperature"] == 2


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, RESPONSES])
@pytest.mark.parametrize(
    ("values", "body", "added", "least"),
    [
        ({"min_tokens": 2, "max_tokens": 512}, {}, {"length": 100}, 2),
        ({"min_tokens": 2, "max_tokens": 512}, {"length": 1}, {}, 1),
        ({"min_tokens": 400, "max_tokens": 512}, {}, {"length": 100}, 100),
        ({"max_new_tokens": 50}, {"min_tokens": 60}, {"length": 60}, 0),
        ({"temperature": 0}, {"n": 2}, {}, 0),
        ({"temperature": 0}, {"n": 1}, {"temperature": 0}, 0),
        ({"n": 2}, {"temperature": 0}, {}, 0),
        ({"prompt_logprobs": 1}, {"stream": True}, {}, 0),
    ],
)
def test_defaults_yield_to_the_request_and_the_context(
    path: str, values: dict[str, Any], body: dict[str, Any], added: dict[str, Any], least: int
) -> None:
    names = {path: frozenset({*COMMON, "max_tokens", "max_completion_tokens", "max_output_tokens", "min_tokens"})}
    sampling = SamplingSettings(values, {})
    rules = BodyRules(names, SamplingRules({}, sampling, context=100), sampling)
    length = {CHAT: "max_tokens", COMPLETIONS: "max_tokens", RESPONSES: "max_output_tokens"}[path]

    def named(given: dict[str, Any]) -> dict[str, Any]:
        return {length if name == "length" else name: value for name, value in given.items()}

    found = json.loads(rules.apply(path, json.dumps(named(body)).encode()))
    assert found == named(body) | named(added)
    assert DEFAULT_MIN_TOKENS.get() == least


def test_null_means_that_nothing_is_set() -> None:
    assert applied(CHAT, temperature=None, profile=None) == {"temperature": 0.5, "max_tokens": 100}


def test_each_way_to_say_the_length_counts_and_the_protocols_own_is_written() -> None:
    assert "max_tokens" not in applied(CHAT, max_completion_tokens=7)
    assert applied(RESPONSES) == {"temperature": 0.5, "max_output_tokens": 100, "logprobs": 2}
    assert applied(RESPONSES, max_output_tokens=7)["max_output_tokens"] == 7


def test_what_requests_of_a_path_cannot_say_is_told() -> None:
    assert RULES.left_out(CHAT) == ["logprobs"]
    assert RULES.left_out(COMPLETIONS) == []
    assert RULES.left_out(RESPONSES) == []


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (CHAT, {"profile": "x"}, "unknown sampling profile 'x'; allowed: exact"),
        (CHAT, {"profile": 1}, "'profile' must be text"),
        (CHAT, {"n": 5}, "'n' must be at most 4"),
        (CHAT, {"top_logprobs": 6}, "'logprobs' must be at most 5"),
        (COMPLETIONS, {"logprobs": 6}, "'logprobs' must be at most 5"),
        (COMPLETIONS, {"stop": ["a"] * 4}, "'stop' has 4 entries; at most 3"),
        (COMPLETIONS, {"prompt": ["a"] * 4}, "'prompt' has 4 prompts; at most 3"),
        (COMPLETIONS, {"prompt": "é" * 11}, "the prompt has 22 bytes of text; at most 20"),
        (CHAT, {"messages": [{"content": "a" * 11}, {"content": [{"type": "text", "text": "b" * 10}]}]}, "21 bytes"),
        (RESPONSES, {"input": [{"role": "user", "content": "a" * 21}]}, "21 bytes"),
    ],
)
def test_mistakes_are_named(path: str, body: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequest) as error:
        applied(path, **body)
    assert words in str(error.value)


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, "/v1/embeddings"])
@pytest.mark.parametrize(("text", "is_text"), [("\ud800", False), ("a\udfffb", False), ("🙂", True), ("\\ud800", True)])
def test_text_with_half_a_character_is_named(path: str, text: str, is_text: bool) -> None:
    rules = BodyRules(NAMES, SamplingRules({}), SamplingSettings(), {"/v1/embeddings": frozenset({"input"})})
    body = json.dumps({"input": [text]} if path not in NAMES else {"stop": [text]}).encode()
    if is_text:
        assert rules.apply(path, body) == body
        return
    with pytest.raises(BadRequest, match="half of a surrogate pair"):
        rules.apply(path, body)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"input": ["a"] * 4}, "'input' has 4 prompts; at most 3"),
        ({"input": [[5], [6], [7], [8]]}, "'input' has 4 prompts"),
        ({"query": "q", "documents": ["a"] * 4}, "'documents' has 4 prompts"),
        ({"text_1": "a", "text_2": ["a", "b" * 21]}, "a prompt of 'text_2' has 21 bytes of text; at most 20"),
        ({"input": "é" * 11}, "a prompt of 'input' has 22 bytes"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a" * 21}]}]}, "21 bytes"),
    ],
)
def test_limits_hold_for_requests_that_generate_nothing(body: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequest) as error:
        RULES.apply("/pooling", json.dumps(body).encode())
    assert words in str(error.value)
    assert RULES.apply("/pooling", b'{"messages": [1, 2, 3, 4, 5]}')


@pytest.mark.parametrize("value", [["a" * 20, "b" * 20], list(range(50)), "a" * 20, [], None, 5, [None]])
def test_each_prompt_of_a_request_that_generates_nothing_may_be_as_long_as_the_limit(value: Any) -> None:
    body = json.dumps({"input": value}).encode()
    assert RULES.apply("/pooling", body) == body


def test_documents_may_be_objects_with_a_text() -> None:
    def applied_to(*documents: Any) -> Any:
        body = {"query": "q", "documents": list(documents)}
        return json.loads(RULES.apply("/v1/rerank", json.dumps(body).encode()))

    assert applied_to({"text": "a"}, "b") == {"query": "q", "documents": ["a", "b"]}
    for other in (["a"], [{"text": "a", "title": "b"}], [None]):
        assert applied_to(*other)["documents"] == other


def test_media_are_for_models_that_see() -> None:
    body = json.dumps({"messages": [{"content": [{"type": "image_url"}]}]}).encode()
    plain = SamplingRules({})
    assert BodyRules(NAMES, plain, SamplingSettings()).apply(CHAT, body) == body
    with pytest.raises(BadRequest, match="reads text only"):
        BodyRules(NAMES, plain, SamplingSettings(), sees=False).apply(CHAT, body)
    with pytest.raises(BadRequest, match="reads text only"):
        BodyRules(NAMES, plain, SamplingSettings(), sees=False).apply(RESPONSES, body.replace(b"messages", b"input"))


def test_what_would_be_ignored_is_rejected_where_fields_are_closed() -> None:
    known = frozenset({"priority", "tools", "stream_options", "mm_payload", "watermarking", "input"})
    inner = {RESPONSES: {"stream_options": frozenset({"include_usage"})}}
    closed = {RESPONSES: known, "/v1/embeddings": known}
    rules = BodyRules({RESPONSES: known}, SamplingRules({}), SamplingSettings(), closed, inner)
    open_ = BodyRules({RESPONSES: known}, SamplingRules({}), SamplingSettings())
    for extra in ({"tools": [{"type": "mcp"}]}, {"stream_options": {"x": 1}}, {"mm_payload": "none"}):
        body = json.dumps(extra).encode()
        assert open_.apply(RESPONSES, body) == body
        with pytest.raises(BadRequest):
            rules.apply(RESPONSES, body)
    tools = b'{"tools": [{"type": "mcp"}]}'
    own = BodyRules({RESPONSES: known}, SamplingRules({}), SamplingSettings(), closed, inner, has_tools=True)
    assert own.apply(RESPONSES, tools) == tools
    for unavailable in (b'{"priority": 1}', b'{"watermarking": true}'):
        with pytest.raises(BadRequest, match="engine"):
            open_.apply(RESPONSES, unavailable)
    with pytest.raises(BadRequest, match="no effect"):
        rules.apply("/v1/embeddings", b'{"mm_payload": "none"}')


def test_pictures_and_tokens_are_no_text() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:" + "A" * 100}}
    assert applied(CHAT, messages=[{"role": "user", "content": [picture]}])["messages"]
    assert applied(COMPLETIONS, prompt=list(range(10)))["prompt"] == list(range(10))


@given(st.binary(max_size=40))
def test_what_is_no_json_object_is_left_to_vllm(body: bytes) -> None:
    try:
        is_object = isinstance(json.loads(body), dict)
    except (ValueError, RecursionError):
        is_object = False
    assert is_object or RULES.apply(CHAT, body) is body


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000])
def test_depth_does_no_harm(body: bytes) -> None:
    assert RULES.apply(CHAT, body) is body


def test_other_paths_and_bodies_that_say_all_stay_as_they_are() -> None:
    assert RULES.apply("/v1/embeddings", b'{"profile": "x"}') == b'{"profile": "x"}'
    plain = BodyRules(NAMES, SamplingRules({}), SamplingSettings())
    body = b'{ "temperature":1 }'
    assert plain.apply(CHAT, body) is body


# --------------------------------------------------------------------------------------------- the way through


class Client:
    """The server's side of one connection: what it receives and what it is sent."""

    def __init__(self, *parts: bytes) -> None:
        more = [True] * (len(parts) - 1) + [False]
        self._messages = [
            {"type": "http.request", "body": part, "more_body": left} for part, left in zip(parts, more, strict=True)
        ]
        self.sent: list[dict[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        if self._messages:
            return self._messages.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    async def send(self, message: Any) -> None:
        self.sent.append(dict(message))

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])


Application = Callable[[Any, Any, Any], Awaitable[None]]


def through(application: Application, client: Client, seconds: float = 0, *, admitted: bool = True) -> None:
    limits = RequestLimits(max_body_bytes=1000, request_timeout_seconds=seconds)
    gate = OpenAIMiddleware(application, frozenset({CHAT}), RULES, limits, lambda _: admitted)
    scope = {"type": "http", "method": "POST", "path": CHAT, "headers": [(b"content-length", b"1"), (b"a", b"b")]}
    asyncio.run(gate(scope, client.receive, client.send))


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body = (await receive())["body"]
    headers = dict(scope["headers"])
    assert headers == {b"a": b"b", b"content-length": str(len(body)).encode()}
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def patient(_scope: Any, receive: Any, _send: Any) -> None:
    """Works until its client has left."""
    await receive()
    assert (await receive())["type"] == "http.disconnect"


async def stubborn(_scope: Any, _receive: Any, _send: Any) -> None:
    await asyncio.Event().wait()


def streaming(kind: bytes) -> Application:
    async def answer(_scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        await patient(_scope, receive, send)
        await send({"type": "http.response.body", "body": b"too late", "more_body": True})

    return answer


@pytest.mark.parametrize("seconds", [0, 5])
def test_a_body_in_parts_arrives_whole_and_changed(seconds: float) -> None:
    client = Client(b'{"temperat', b'ure": 1', b"}")
    through(echo, client, seconds)
    assert client.status == 200
    assert json.loads(client.body) == {"temperature": 1, "max_tokens": 100}


def test_a_body_that_is_left_as_it_is_goes_on_with_its_own_head() -> None:
    async def told(scope: Any, receive: Any, send: Any) -> None:
        assert dict(scope["headers"])[b"content-length"] == b"1"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": (await receive())["body"]})

    client = Client(b"[")
    through(told, client)
    assert client.body == b"["


def answered(method: str, path: str, *headers: tuple[bytes, bytes]) -> tuple[Client, list[str]]:
    """The answer to a request, and the paths under which it reached the application."""
    reached: list[str] = []

    async def note(scope: Any, _receive: Any, send: Any) -> None:
        reached.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    client = Client(b"{}")
    paths = frozenset({CHAT, "/v1/models"})
    gate = OpenAIMiddleware(note, paths, RULES, RequestLimits(), lambda _: True, known=paths | {"/v1/embeddings"})
    scope = {"type": "http", "method": method, "path": path, "headers": list(headers)}
    asyncio.run(gate(scope, client.receive, client.send))
    return client, reached


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", CHAT, 405, f"{CHAT} has no method GET. Use POST"),
        ("DELETE", "/v1/models/llm", 405, "Use GET"),
        ("POST", "/v1/models", 405, "Use GET"),
        ("POST", "/v1/audio/speech", 404, "no audio decoders"),
        ("POST", "/v1/audio/transcriptions", 404, "no audio decoders"),
        ("POST", "/v1/embeddings", 404, "the model does not have its task. Paths are /v1/chat/completions, /v1/models"),
        ("GET", f"{RESPONSES}/resp_1", 404, "responses are not stored"),
        ("POST", "/v1/moderations", 404, "/classify"),
        ("POST", "/v1/nothing", 404, "path not found. Paths are"),
    ],
)
def test_a_wrong_path_or_method_is_told_what_is_possible(method: str, path: str, status: int, words: str) -> None:
    client, reached = answered(method, path)
    assert (client.status, reached) == (status, [])
    error = json.loads(client.body)["error"]
    assert error["code"] == status
    assert words in error["message"]
    allowed = dict(client.sent[0]["headers"]).get(b"allow")
    assert allowed == (words[-4:].strip().encode() if status == 405 else None)


@pytest.mark.parametrize(("method", "path"), [("POST", CHAT), ("GET", "/v1/models"), ("OPTIONS", CHAT)])
def test_a_slash_at_the_end_does_no_harm(method: str, path: str) -> None:
    for asked in (path, path + "/"):
        client, reached = answered(method, asked)
        assert (client.status, reached) == (200, [path])


@pytest.mark.parametrize("encoding", [b"gzip", b"br", b"x, gzip"])
def test_a_compressed_body_is_told_so(encoding: bytes) -> None:
    client, reached = answered("POST", CHAT, (b"content-encoding", encoding))
    assert (client.status, reached) == (415, [])
    assert "Send it uncompressed" in json.loads(client.body)["error"]["message"]
    assert answered("POST", CHAT, (b"content-encoding", b"Identity"))[0].status == 200


def test_without_the_key_nothing_is_read() -> None:
    client = Client(b"{}")
    through(echo, client, admitted=False)
    assert (client.status, json.loads(client.body)["error"]["code"]) == (401, 401)
    assert client._messages


def test_a_large_body_is_refused_before_it_is_whole() -> None:
    client = Client(b"a" * 600, b"a" * 600, b"a" * 600)
    through(echo, client)
    assert client.status == 413
    assert json.loads(client.body)["error"]["message"] == "the body is larger than 1000 bytes"
    assert len(client._messages) == 1


@pytest.mark.parametrize("application", [patient, stubborn])
def test_a_request_that_takes_too_long_is_told_so(application: Application) -> None:
    client = Client(b"{}")
    through(application, client, 0.05)
    assert client.status == 400
    assert "longer than its limit of 0.05 seconds" in json.loads(client.body)["error"]["message"]


def test_a_stream_that_takes_too_long_ends_with_an_error() -> None:
    client = Client(b"{}")
    through(streaming(b"text/event-stream; charset=utf-8"), client, 0.05)
    first, error, done, _ = client.body.decode().split("\n\n")
    assert (first, done) == ("data: 1", "data: [DONE]")
    assert "longer than its limit" in json.loads(error.removeprefix("data: "))["error"]["message"]
    assert client.sent[-1]["more_body"] is False


def test_another_answer_that_takes_too_long_just_ends() -> None:
    client = Client(b"{}")
    through(streaming(b"application/octet-stream"), client, 0.05)
    assert client.body == b"data: 1\n\n"
    assert client.sent[-1]["more_body"] is False


@pytest.mark.parametrize("seconds", [0, 60])
@pytest.mark.parametrize("application", [patient, stubborn, streaming(b"text/event-stream")])
def test_requests_that_are_ended_are_told_why(application: Application, seconds: float) -> None:
    client = Client(b"{}")

    async def run() -> None:
        gate = OpenAIMiddleware(
            application, frozenset({CHAT}), RULES, RequestLimits(request_timeout_seconds=seconds), lambda _: True
        )
        scope = {"type": "http", "method": "POST", "path": CHAT, "headers": []}
        running = asyncio.ensure_future(gate(scope, client.receive, client.send))
        await asyncio.sleep(0.05)
        gate.end("it stops")
        await asyncio.wait_for(running, 5)

    asyncio.run(run())
    assert client.status == (503 if application in (patient, stubborn) else 200)
    assert b"it stops" in client.body
    assert not client.sent[-1].get("more_body", False)


def test_a_request_that_is_cancelled_otherwise_is_not_answered() -> None:
    client = Client(b"{}")

    async def run() -> None:
        gate = OpenAIMiddleware(stubborn, frozenset({CHAT}), RULES, RequestLimits(), lambda _: True)
        scope = {"type": "http", "method": "POST", "path": CHAT, "headers": []}
        running = asyncio.ensure_future(gate(scope, client.receive, client.send))
        await asyncio.sleep(0.05)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(run())
    assert client.sent == []


def test_a_fault_of_the_application_is_not_hidden() -> None:
    async def broken(_scope: Any, _receive: Any, _send: Any) -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        through(broken, Client(b"{}"), 5)
