"""ASGI middleware before vLLM's OpenAI server: API key, limits, sampling defaults and profiles, timeout.

vLLM's own server knows neither profiles nor limits, takes six kinds of defaults from generation_config and its key
does not guard every path.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from backend.engine.sampling_parameters import UNSET_MAX_TOKENS, SamplingRules, unset
from backend.errors import BadRequest
from backend.openai.fields import check_fields, check_idle, check_inner, check_media, check_tools
from backend.patches.checked_requests import DEFAULT_MIN_TOKENS, MAY_REASON
from backend.settings import SamplingSettings
from contract.limits import RequestLimits
from contract.parameters import ALIASES

Scope = Mapping[str, Any]
Message = Mapping[str, Any]
Receive = Callable[[], Any]
Send = Callable[[Message], Any]

CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
MESSAGES, MODELS = "/v1/messages", "/v1/models"
# Where a model's reasoning is separate from its answer.
REASONING = (CHAT, RESPONSES, MESSAGES)
PROFILE, MIN_TOKENS = "profile", "min_tokens"
# What a request says about these changes what the defaults of others may be.
DEPENDED_ON = frozenset({"max_tokens", MIN_TOKENS, "n", "temperature", "stream"})
# Where the protocol calls a sampling value otherwise: path -> (ours, names that mean it; the first one is written).
_LENGTH = {
    CHAT: ("max_tokens", "max_completion_tokens"),
    COMPLETIONS: ("max_tokens",),
    RESPONSES: ("max_output_tokens",),
    MESSAGES: ("max_tokens",),
}
# Where clients of other servers look for what this image does not have -> why.
CLOSED: Mapping[str, str] = MappingProxyType(
    {
        "/v1/audio/": "the image has no audio decoders; models take text, and images where they read them",
        "/v1/images/": "models generate text",
        "/v1/moderations": "models that classify have /classify",
        RESPONSES + "/": "responses are not stored; send the whole conversation as 'input'",
    }
)
# What is a switch there and a number here.
_OTHER_MEANING = {CHAT: frozenset({"logprobs"})}
# What requests that generate nothing call their prompts.
PROMPTS = (
    *("input", "prompt", "messages", "query", "documents", "queries", "texts", "inputs"),
    *("text_1", "text_2", "data_1", "data_2"),
)
# How JSON writes a half of a surrogate pair.
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
# An application that does not end by itself when its client is gone is cancelled.
LEAVE_SECONDS = 1.0


class BodyTooLarge(Exception):
    """The body is larger than the limit."""


@dataclass(frozen=True, slots=True)
class BodyRules:
    """What happens to the body of a request.

    `names`: path -> the fields that vLLM's request of that path has. `sampling`: as sampling.json has it.
    `sees`: whether the model reads more than text; `has_tools`: whether the server has tools of its own.
    """

    names: Mapping[str, frozenset[str]]
    rules: SamplingRules
    sampling: SamplingSettings
    # Fields of each path, of which a request may have no others.
    closed: Mapping[str, frozenset[str]] = field(default_factory=dict)
    # ... and keys of the objects in them: path -> place -> keys.
    inner: Mapping[str, Mapping[str, frozenset[str]]] = field(default_factory=dict)
    sees: bool = True
    has_tools: bool = False

    def apply(self, path: str, body: bytes) -> bytes:
        """The body with what it leaves to its profile and the defaults. Raises BadRequest.

        A body that is not a JSON object is returned unchanged: vLLM rejects it.
        """
        try:
            request = json.loads(body)
        except (ValueError, RecursionError):
            return body
        if not isinstance(request, dict):
            return body
        if SURROGATE.search(body) and not _is_unicode(request):
            raise BadRequest("a string is not valid Unicode: it has half of a surrogate pair (\\ud800 to \\udfff)")
        if path not in self.names:
            self._check_fields(path, request)
            self._check_prompts(request)
            return _with_plain_documents(request) or body
        MAY_REASON.set(path in REASONING)
        profile = self.rules.profile_name(request.pop(PROFILE, None))
        self._check_fields(path, request)
        added = self._added(path, request, profile)
        DEFAULT_MIN_TOKENS.set(added.pop(MIN_TOKENS, 0))
        self._check(path, request)
        if profile is None and not added:
            return body
        return json.dumps({**request, **added}).encode()

    def defaults(self, path: str, profile: str | None) -> dict[str, Any]:
        """The fields that a request without parameters gets."""
        return self._added(path, {}, profile)

    def left_out(self, path: str) -> list[str]:
        """Names of sampling.json that requests of this path do not have."""
        said = (self.sampling.defaults, *self.sampling.profiles.values())
        given = {name for values in said for name in _plain(values)}
        return sorted(name for name in given if self._names(path, name)[0] not in self._takes(path))

    def _added(self, path: str, request: Mapping[str, Any], profile: str | None) -> dict[str, Any]:
        self.rules.profile(profile)  # refuses a name that there is not
        named = self.sampling.profiles[profile] if profile is not None else {}
        levels = _plain(named), _plain(self.sampling.defaults)
        names = {name for level in levels for name in level} | DEPENDED_ON
        given = {
            name: request[each]
            for name in names
            for each in reversed(self._names(path, name))
            if request.get(each) is not None
        }
        found = unset(given, levels, self.rules.context)
        shortest = given.get(MIN_TOKENS)
        if path == COMPLETIONS and "max_tokens" not in {**given, **found} and isinstance(shortest, int):
            found |= {"max_tokens": shortest} if shortest > UNSET_MAX_TOKENS else {}
        takes = self._takes(path)
        return {
            self._names(path, name)[0]: value for name, value in found.items() if self._names(path, name)[0] in takes
        }

    def _takes(self, path: str) -> frozenset[str]:
        # The default of min_tokens goes another way than in the body, which every path has.
        return self.names[path] - _OTHER_MEANING.get(path, frozenset()) | {MIN_TOKENS}

    def _names(self, path: str, name: str) -> tuple[str, ...]:
        if path == MESSAGES and name == "stop":
            return ("stop_sequences",)
        return _LENGTH[path] if name == "max_tokens" else (name,)

    def _check_prompts(self, request: Mapping[str, Any]) -> None:
        """Raises BadRequest for too many prompts of a request that generates nothing, or too long ones."""
        for name in PROMPTS:
            value = request.get(name)
            texts = value if isinstance(value, list) else [value]
            if name != "messages":
                self._check_count(name, texts)
            self._check_size(max(map(_size, texts), default=0), f"a prompt of '{name}'")

    def _check_count(self, name: str, prompts: list[Any]) -> None:
        """Raises BadRequest for too many prompts. A list of numbers is the tokens of one prompt."""
        limit = self.rules.limits.max_list
        if len(prompts) > limit and not isinstance(prompts[0], int):
            raise BadRequest(f"'{name}' has {len(prompts)} prompts; at most {limit}")

    def _check_size(self, size: int, what: str) -> None:
        if size > self.rules.limits.max_prompt_bytes:
            raise BadRequest(f"{what} has {size} bytes of text; at most {self.rules.limits.max_prompt_bytes}")

    def _check_fields(self, path: str, request: Mapping[str, Any]) -> None:
        if path in self.closed:
            check_fields(request, self.closed[path])
            check_inner(request, self.inner.get(path, {}))
            check_idle(request)
            if not self.has_tools:
                check_tools(request)

    def _check(self, path: str, request: Mapping[str, Any]) -> None:
        if not self.sees:
            check_media(request.get("messages"))
            check_media(request.get("input"))
        counted = request if path == COMPLETIONS else {**request, "logprobs": request.get("top_logprobs")}
        self.rules.check_limits(counted)
        self.rules.check_available(request)
        prompts = request.get("prompt")
        if isinstance(prompts, list):
            self._check_count("prompt", prompts)
        self._check_size(sum(_size(request.get(name)) for name in ("prompt", "messages", "input")), "the prompt")


def _is_unicode(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _with_plain_documents(request: Mapping[str, Any]) -> bytes | None:
    """The body with the text of documents that are objects with nothing else, as Cohere and Jina take them too.

    None where there are none.
    """
    documents = request.get("documents")
    if not isinstance(documents, list) or not any(_is_plain(each) for each in documents):
        return None
    return json.dumps(
        {**request, "documents": [each["text"] if _is_plain(each) else each for each in documents]}
    ).encode()


def _is_plain(document: Any) -> bool:
    return isinstance(document, dict) and document.keys() == {"text"}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {ALIASES.get(name, name): value for name, value in values.items()}


def _size(value: Any) -> int:
    """Bytes of the text of a prompt or of messages."""
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in _texts(value))


def _texts(value: Any) -> Iterator[str]:
    """The text of prompts and messages; pictures and the like are not text."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += [value.get("content"), value.get("text")]


class OpenAIMiddleware:
    """The ASGI application before vLLM's own.

    `paths`: those that are open; `admits`: whether the key of a request is right;
    `cross_origin`: makes an application say which other origins may read its answers;
    `known`: paths that are open for models of some task.
    """

    def __init__(
        self,
        application: Any,
        paths: frozenset[str],
        rules: BodyRules,
        limits: RequestLimits,
        admits: Callable[[Scope], bool],
        cross_origin: Callable[[Any], Any] = lambda application: application,
        known: frozenset[str] = frozenset(),
    ) -> None:
        self._application = application
        self.paths = paths
        self._rules = rules
        self._limits = limits
        self._admits = admits
        self.known = known
        self._passages: set[PendingRequest] = set()
        self._outermost = cross_origin(self._serve)

    def serves(self, path: str) -> bool:
        """Return whether a path is one of this application."""
        return path in self.paths or path.startswith(f"{MODELS}/")

    @property
    def running(self) -> bool:
        """Whether a request is being answered."""
        return bool(self._passages)

    def end(self, why: str) -> None:
        """Cancel the running requests; their clients receive the reason `why`. Only from the loop."""
        for passage in self._passages:
            passage.end(why)

    def runs_in(self, server: Any) -> None:
        """Set the server of vLLM's application, as vLLM's own does: its code relies on it."""
        self._application.state.server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is refused; all else goes on to vLLM."""
        await self._outermost(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope = self._without_slash(scope)
        path = str(scope["path"])
        if not self.serves(path):
            await _answer(send, 404, _error(self._not_found(path), 404))
            return
        method = "GET" if path.startswith(MODELS) else "POST"
        if scope["method"] not in (method, "OPTIONS"):
            message = f"{path} has no method {scope['method']}. Use {method}"
            await _answer(send, 405, _error(message, 405), (b"allow", method.encode()))
            return
        if not self._admits(scope):
            message = "the API key is missing or wrong: send it as 'Authorization: Bearer KEY'"
            await _answer(send, 401, _error(message, 401))
            return
        if scope["method"] == "GET" and (name := str(scope["path"]).removeprefix(f"{MODELS}/")) != scope["path"]:
            await _answer(send, *await self._model(name))
            return
        if scope["method"] != "POST":
            await self._application(scope, receive, send)
            return
        if encoding := _encoding(scope):
            message = f"the body's content-encoding {encoding!r} is not supported. Send it uncompressed"
            await _answer(send, 415, _error(message, 415))
            return
        try:
            given = await _read(receive, self._limits.max_body_bytes)
            body = given if given is None else self._rules.apply(str(scope["path"]), given)
        except BodyTooLarge:
            message = f"the body is larger than {self._limits.max_body_bytes} bytes"
            await _answer(send, 413, _error(message, 413))
            return
        except BadRequest as error:
            await _answer(send, 400, _error(str(error), 400))
            return
        if body is None:
            return
        scope = scope if body is given else _with_length(scope, body)
        passage = PendingRequest(body, receive, send)
        self._passages.add(passage)
        try:
            await passage.through(self._application, scope, self._limits.request_timeout_seconds)
        finally:
            self._passages.discard(passage)

    def _without_slash(self, scope: Scope) -> Scope:
        """The scope of the same request without a slash at the end, which some clients put there."""
        path = str(scope["path"]).rstrip("/")
        if path == scope["path"] or path not in self.paths:
            return scope
        return {**scope, "path": path, "raw_path": path.encode()}

    def _not_found(self, path: str) -> str:
        why = next((reason for start, reason in CLOSED.items() if path.startswith(start)), "")
        if path in self.known:
            why = "the model does not have its task"
        return f"path not found{why and ': ' + why}. Paths are {', '.join(sorted(self.paths))}"

    async def _model(self, name: str) -> tuple[int, Mapping[str, Any]]:
        """The status and the body for one of the model's names or adapters, which vLLM's server only lists."""
        listed = await self._application.state.openai_serving_models.show_available_models()
        found = next((card for card in listed.data if card.id == name), None)
        if found is not None:
            return 200, found.model_dump()
        error = {
            "message": f"The model `{name}` does not exist.",
            "type": "NotFoundError",
            "param": "model",
            "code": 404,
        }
        return 404, {"error": error}


class PendingRequest:
    """One request's way through vLLM's application, which learns of the end of its time as of a client that leaves."""

    def __init__(self, body: bytes, receive: Receive, send: Send) -> None:
        self._body: bytes | None = body
        self._receive = receive
        self._send = send
        self._late = False
        self._started: Message | None = None
        self._finished = False
        self._ended = ""
        self._task: asyncio.Task[Any] | None = None
        self._heard: asyncio.Future[Message] | None = None

    async def through(self, application: Any, scope: Scope, seconds: float) -> None:
        """Returns when the request is answered. `seconds`: how long it may take, 0 for ever."""
        self._task = asyncio.current_task()
        try:
            await self._answered(application, scope, seconds)
        except asyncio.CancelledError:
            if not self._ended:
                raise
        if self._ended and not self._finished:
            await self._tell(self._ended, 503)

    def end(self, why: str) -> None:
        """Answer with `why` instead of the application, which learns of it as of a client that leaves."""
        self._ended = why
        self._part()
        if self._task is not None:
            asyncio.get_running_loop().call_later(LEAVE_SECONDS, self._task.cancel)

    async def _answered(self, application: Any, scope: Scope, seconds: float) -> None:
        if seconds <= 0:
            await application(scope, self.receive, self.send)
            return
        running = asyncio.ensure_future(application(scope, self.receive, self.send))
        await asyncio.wait({running}, timeout=seconds)
        if not running.done():
            self._part()
            await asyncio.wait({running}, timeout=LEAVE_SECONDS)
            running.cancel()
        await asyncio.wait({running})
        if not self._late:
            running.result()
        elif not (self._finished or self._ended):
            # Not 408 or 504: OpenAI's client sends such a request again, which would take as long again.
            await self._tell(f"the request took longer than its limit of {seconds:g} seconds", 400)

    async def receive(self) -> Message:
        """The body, then what the client does; an end of ours looks like a client that leaves."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        if not self._late:
            self._heard = asyncio.ensure_future(self._receive())
            try:
                return await self._heard
            except asyncio.CancelledError:
                if not self._late:
                    raise
        return {"type": "http.disconnect"}

    def _part(self) -> None:
        """From now on the application has no client."""
        self._late = True
        if self._heard is not None:
            self._heard.cancel()

    async def send(self, message: Message) -> None:
        """To the client, as long as the request is in time."""
        if self._late:
            return
        if message["type"] == "http.response.start":
            self._started = message
        elif not message.get("more_body", False):
            self._finished = True
        await self._send(message)

    async def _tell(self, why: str, code: int) -> None:
        error = _error(why, code)
        if self._started is None:
            await _answer(self._send, code, error)
            return
        streams = any(b"text/event-stream" in value for _, value in self._started["headers"])
        rest = f"data: {json.dumps(error)}\n\ndata: [DONE]\n\n".encode() if streams else b""
        await self._send({"type": "http.response.body", "body": rest, "more_body": False})


async def _read(receive: Receive, most: int) -> bytes | None:
    """The whole body, None when the client has left. Raises BodyTooLarge."""
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise BodyTooLarge
        more = message.get("more_body", False)
    return b"".join(parts)


def _encoding(scope: Scope) -> str:
    """How the body is compressed, "" when it is not."""
    found = next((value for name, value in scope["headers"] if name == b"content-encoding"), b"")
    return "" if found.lower() in (b"", b"identity") else found.decode("latin-1")[:80]


def _with_length(scope: Scope, body: bytes) -> Scope:
    headers = [(name, value) for name, value in scope["headers"] if name != b"content-length"]
    return {**scope, "headers": [*headers, (b"content-length", str(len(body)).encode())]}


def _error(message: str, code: int) -> dict[str, Any]:
    """An error as OpenAI's clients read it."""
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


async def _answer(send: Send, status: int, body: Mapping[str, Any], *more: tuple[bytes, bytes]) -> None:
    headers = [(b"content-type", b"application/json"), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})
