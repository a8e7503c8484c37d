"""Every kind of request that a client may send, asked of a server that has just become ready."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from gpu.place import MODEL, Started
from gpu.record import Record
from testing.server import Answer, Server, wait_until

TOKENS = 16
PROMPT = "Hello"  # shorter than a block of the KV cache: the second time nothing of it is cached
EXACT: dict[str, Any] = {"max_tokens": TOKENS, "ignore_eos": True, "temperature": 0.0}
CHANCE: dict[str, Any] = {"max_tokens": TOKENS, "ignore_eos": True, "temperature": 0.8}
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"enum": ["yes", "no"]}},
    "required": ["answer"],
    "additionalProperties": False,
}
# A model with made-up weights would never end its blanks.
GRAMMAR = {"structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True}}
BURST = 32


def exercise(started: Started, record: Record, *, chat: bool = True) -> None:
    """Send all of them, then look whether the engine is still alive. Seconds of each are noted: a stall is a compiler.

    `chat`: whether the model's chat needs nothing that has to be downloaded.
    """
    server, seconds = started.server, record.facts.setdefault("requestSeconds", {})

    def asked(what: str, act: Callable[[], Any]) -> Any:
        begun = time.monotonic()
        found = record.attempt(what, act)
        seconds[what] = round(time.monotonic() - begun, 3)
        return found

    first = asked("greedy", lambda: text(server, **EXACT))
    again = asked("greedy again", lambda: text(server, **EXACT))
    record.expect(first == again, f"greedy answers differ: {first!r} and {again!r}")
    for name, values in SAMPLED.items():
        asked(name, partial(text, server, **CHANCE, **values))
    seeded = [asked("seeded", lambda: text(server, **CHANCE, top_p=0.9, top_k=20, seed=7)) for _ in range(2)]
    record.expect(seeded[0] == seeded[1], f"seeded answers differ: {seeded[0]!r} and {seeded[1]!r}")
    asked("logprobs", lambda: logprobs(server))
    asked("grammar", lambda: grammar(server))
    streamed = asked("stream", lambda: stream(server))
    record.expect(streamed == first, f"the stream says {streamed!r}, the full answer {first!r}")
    asked("completion", lambda: completion(server, "/v1/completions", {"prompt": PROMPT}))
    asked("completion as a stream", lambda: completion_stream(server, "/v1/completions", {"prompt": PROMPT}))
    if chat:
        messages = {"messages": [{"role": "user", "content": PROMPT}]}
        asked("chat", lambda: completion(server, "/v1/chat/completions", messages))
        asked("chat as a stream", lambda: completion_stream(server, "/v1/chat/completions", messages))
    asked("burst", lambda: burst(server))
    asked("state", lambda: state(server, record))
    last = asked("greedy at the end", lambda: text(server, **EXACT))
    record.expect(last == first, f"the greedy answer has changed: {first!r} and {last!r}")
    record.expect(server.process.poll() is None, "the server has ended")


# Parameters without a seed, which vLLM samples by another kernel than those with one.
SAMPLED: dict[str, dict[str, Any]] = {
    "top_p": {"top_p": 0.9},
    "top_k": {"top_k": 20},
    "top_p and top_k": {"top_p": 0.9, "top_k": 20},
    "min_p": {"min_p": 0.01},
    "penalties": {"presence_penalty": 0.5, "frequency_penalty": 0.5, "repetition_penalty": 1.1},
}


def text(server: Server, **values: Any) -> str:
    """The text of a full answer. Raises AssertionError with the error of the server."""
    answer = server.generate(PROMPT, exclude_input_in_output=True, return_num_output_tokens=True, **values)
    body = whole(answer)
    assert body["num_output_tokens"] == TOKENS, body
    return str(body["text_output"])


def whole(answer: Answer) -> Any:
    """The body of an answer of status 200."""
    assert answer.status == 200, answer
    return answer.body


def logprobs(server: Server) -> None:
    """The logarithms of three tokens' probabilities for each token."""
    sampling = json.dumps({**EXACT, "logprobs": 3})
    answer = server.generate(PROMPT, sampling_parameters=sampling, return_logprobs=True)
    found = json.loads(whole(answer)["logprobs"])
    assert len(found) == TOKENS, found
    assert all(len(token) >= 3 for token in found), found


def grammar(server: Server) -> None:
    """An answer that follows a JSON schema."""
    sampling = json.dumps({"max_tokens": 64, "temperature": 0.0, "structured_outputs": {"json": SCHEMA}})
    answer = server.generate(PROMPT, sampling_parameters=sampling, exclude_input_in_output=True)
    said = json.loads(whole(answer)["text_output"])
    assert said in ({"answer": "yes"}, {"answer": "no"}), said


def stream(server: Server) -> str:
    """The text of a stream, which comes in pieces."""
    events = server.stream(PROMPT, return_num_output_tokens=True, **EXACT)
    assert sum(event["num_output_tokens"] for event in events) == TOKENS, events
    assert len(events) > 1, events
    return "".join(event["text_output"] for event in events)


def completion(server: Server, path: str, values: dict[str, Any]) -> None:
    """A full answer of OpenAI's protocol."""
    body = {"model": MODEL, "max_tokens": TOKENS, "ignore_eos": True, **values}
    usage = whole(server.request("POST", path, body, port=server.front_port))["usage"]
    assert usage["completion_tokens"] == TOKENS, usage


def completion_stream(server: Server, path: str, values: dict[str, Any]) -> None:
    """A stream of OpenAI's protocol, which ends as one does."""
    body = {"model": MODEL, "max_tokens": TOKENS, "ignore_eos": True, "stream": True, **values}
    lines = str(whole(server.request("POST", path, body, port=server.front_port))).split("\n\n")
    events = [line.removeprefix("data: ") for line in lines if line]
    assert events[-1] == "[DONE]", events[-3:]
    assert not any("error" in json.loads(event) for event in events[:-1]), events
    assert len(events) > 2, events


def burst(server: Server) -> None:
    """Requests of all kinds at once, so that one batch has them all."""
    kinds: list[dict[str, Any]] = [{**EXACT}, *({**CHANCE, **values} for values in SAMPLED.values())]
    kinds += [{**CHANCE, "seed": 7}]
    found: list[BaseException | None] = []

    def ask(values: dict[str, Any]) -> None:
        try:
            text(server, **values)
            found.append(None)
        except Exception as error:  # noqa: BLE001 - reported below
            found.append(error)

    threads = [threading.Thread(target=ask, args=(kinds[n % len(kinds)],), daemon=True) for n in range(BURST)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    errors = [error for error in found if error is not None]
    assert not errors, f"{len(errors)} of {BURST} failed: {errors[0]}"


def state(server: Server, record: Record) -> None:
    """Readiness, the report and the metrics agree with what was asked."""
    assert server.health() == Answer(200, {"ready": True}), server.health()
    report = whole(server.request("GET", "/report", port=server.front_port))
    record.facts["report"] = report
    record.headline["kvCacheTokens"] = report["kvCacheTokens"]
    assert report["kvCacheTokens"] > 0, report
    # Counters are at most two seconds old.
    wait_until(lambda: server.metric("vllm:generation_tokens_total") >= BURST * TOKENS, 5, shown=server.metrics)
