"""Clients that keep a server busy while something happens to it, and how it ended for each of them."""

from __future__ import annotations

import collections
import http.client
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gpu.place import MODEL
from testing.server import Server, wait_until

WHOLE, ERROR, LEFT, CUT, HANGS = "whole", "received an error", "disconnected", "cut without a word", "hangs"
RUNNING_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a request ended, and when (`time.monotonic`)."""

    kind: str
    how: str
    at: float
    words: str = ""


class Clients:
    """So many requests at once, of each kind in turn, each for exactly `tokens` tokens."""

    def __init__(self, server: Server, count: int, tokens: int) -> None:
        self._server, self._tokens = server, tokens
        self._kinds: dict[str, Callable[[], tuple[str, str]]] = {
            "generate": self._generate,
            "generate_stream": self._generate_stream,
            "completions": self._completions,
            "completions as a stream": self._completions_stream,
        }
        self.ended: list[Ended] = []
        self.count = count
        names = list(self._kinds)
        self._threads = [
            threading.Thread(target=self._ask, args=(names[number % len(names)],), daemon=True)
            for number in range(count)
        ]

    def start(self) -> None:
        """Send all requests; returns when all of them run in the engine."""
        for thread in self._threads:
            thread.start()
        wait_until(
            lambda: self.ended or self._server.metric("vllm:num_requests_running") == self.count,
            RUNNING_SECONDS,
            shown=self._server.metrics,
        )
        assert not self.ended, f"a request ended before all of them ran: {self.ended}"

    def wait(self, seconds: float) -> None:
        """Give the requests so long to end."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def outcome(self) -> dict[str, int]:
        """How -> how many requests."""
        counts = collections.Counter(ended.how for ended in self.ended)
        counts[HANGS] += self.count - len(self.ended)
        return {how: number for how, number in counts.items() if number}

    def _ask(self, kind: str) -> None:
        try:
            how, words = self._kinds[kind]()
        except (OSError, http.client.HTTPException) as error:
            how, words = LEFT, f"{type(error).__name__}: {error}"
        except Exception as error:  # noqa: BLE001 - an answer that cannot be read is kept as it is
            how, words = CUT, f"{type(error).__name__}: {error}"
        self.ended.append(Ended(kind, how, time.monotonic(), words[:300]))

    def _generate(self) -> tuple[str, str]:
        answer = self._server.generate(max_tokens=self._tokens, ignore_eos=True, return_num_output_tokens=True)
        if answer.status != 200:
            return ERROR, f"{answer.status} {answer.error}"
        return self._counted(int(answer.body["num_output_tokens"]))

    def _generate_stream(self) -> tuple[str, str]:
        wanted = {"text_input": "Hello", "stream": True, "max_tokens": self._tokens, "ignore_eos": True}
        path = f"/v2/models/{MODEL}/generate_stream"
        answer = self._server.request("POST", path, {**wanted, "return_num_output_tokens": True})
        events = _events(answer.body)
        if errors := [event["error"] for event in events if "error" in event]:
            return ERROR, str(errors[0])
        return self._counted(sum(int(event["num_output_tokens"]) for event in events))

    def _completions(self) -> tuple[str, str]:
        answer = self._openai()
        if answer.status != 200:
            return ERROR, f"{answer.status} {answer.body}"
        return self._counted(int(answer.body["usage"]["completion_tokens"]))

    def _completions_stream(self) -> tuple[str, str]:
        answer = self._openai(stream=True, stream_options={"include_usage": True})
        events = _events(answer.body)
        if errors := [event["error"] for event in events if "error" in event]:
            return ERROR, str(errors[0])
        return self._counted(int(events[-1]["usage"]["completion_tokens"]))

    def _openai(self, **values: Any) -> Any:
        wanted = {"model": MODEL, "prompt": "Hello", "max_tokens": self._tokens, "ignore_eos": True, **values}
        return self._server.request("POST", "/v1/completions", wanted, port=self._server.front_port)

    def _counted(self, tokens: int) -> tuple[str, str]:
        return (WHOLE, "") if tokens == self._tokens else (CUT, f"{tokens} of {self._tokens} tokens")


def _events(body: Any) -> list[dict[str, Any]]:
    """The objects of server-sent events, or the one object of a plain answer."""
    if isinstance(body, dict):
        return [body]
    # Not splitlines: text may hold other signs that end a line.
    lines = [line.removeprefix("data: ") for line in str(body).split("\n") if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


class Readiness:
    """Asks as the kubelet does for the pod's readiness probe: every two seconds, with two seconds for the answer.

    `lost`: when the second look in a row had failed, which takes the pod out of its Service.
    """

    PERIOD, TIMEOUT, FAILURES = 2.0, 2.0, 2

    def __init__(self, server: Server) -> None:
        self._server = server
        self._over = threading.Event()
        self.lost: float | None = None
        self.reason = ""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        failures = 0
        while not self._over.is_set():
            begun = time.monotonic()
            failures = 0 if self._ready() else failures + 1
            if failures >= self.FAILURES:
                self.lost = time.monotonic()
                return
            self._over.wait(max(0.0, self.PERIOD - (time.monotonic() - begun)))

    def _ready(self) -> bool:
        try:
            answer = self._server.request("GET", "/health/ready", port=self._server.front_port, timeout=self.TIMEOUT)
        except (OSError, http.client.HTTPException) as error:
            self.reason = f"{type(error).__name__}: {error}"
            return False
        self.reason = "" if answer.status == 200 else str(answer.body)
        return answer.status == 200

    def stop(self) -> None:
        """Ask no more."""
        self._over.set()
        self._thread.join(2 * self.TIMEOUT)
