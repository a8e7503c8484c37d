"""Ready means tokens: an engine that is frozen or dead is found out, and no client waits for it for ever."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from backend.container.processes import name_of
from backend.engine.health import PROBE_AFTER_SECONDS
from backend.launcher.serve import STOPPED_SECONDS
from contract.timing import STALL_SECONDS
from testing.server import (
    ENDLESS,
    TINY_ENGINE,
    Answer,
    Server,
    add_hindrances,
    left_in_shared_memory,
    running,
    script_lines,
    tiny_model,
    wait_until,
    write_model,
)

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

RAISED = "raised by the test"


def models(folder: Path) -> Path:
    write_model(folder / "models", "llm", {**TINY_ENGINE, "model": str(tiny_model())})
    return folder / "models"


def ask(server: Server, **parameters: Any) -> Answer:
    """The answer to a readiness request; its status is 0 if the server does not respond."""
    try:
        return server.generate(**parameters)
    except OSError as error:
        return Answer(0, str(error))


def in_background(server: Server, answers: list[Answer], **parameters: Any) -> threading.Thread:
    thread = threading.Thread(target=lambda: answers.append(ask(server, **parameters)))
    thread.start()
    return thread


def test_ready_while_busy_and_idle(server: Server) -> None:
    assert server.health() == Answer(200, {"ready": True})
    answers: list[Answer] = []
    threads = [in_background(server, answers, max_tokens=200, ignore_eos=True) for _ in range(20)]
    while any(thread.is_alive() for thread in threads):
        assert server.health().status == 200
        time.sleep(0.2)
    assert [answer.status for answer in answers] == [200] * 20
    time.sleep(8)  # longer than an idle engine may be silent
    assert server.health().status == 200


def test_ready_with_a_full_queue_a_long_generation_and_a_client_that_does_not_read(server: Server) -> None:
    answers: list[Answer] = []
    over = threading.Event()

    def ask_again_and_again() -> None:
        while not over.is_set():
            answers.append(ask(server, max_tokens=300, ignore_eos=True))

    with stream_that_nobody_reads(server), stream_that_nobody_reads(server):
        wait_until(lambda: server.metric("vllm:num_requests_running") == 2)
        threads = [threading.Thread(target=ask_again_and_again) for _ in range(24)]
        for thread in threads:
            thread.start()
        try:
            wait_until(
                lambda: server.metric("vllm:num_requests_waiting") > 4, shown=lambda: (answers, server.metrics())
            )
            begun = time.monotonic()
            # Longer than an engine may be silent while something is wanted from it.
            while time.monotonic() - begun < 2 * STALL_SECONDS:
                assert server.health().status == 200
                time.sleep(0.2)
        finally:
            over.set()
            for thread in threads:
                thread.join()
        assert len(answers) >= len(threads)
        assert {answer.status for answer in answers} == {200}
        assert server.health().status == 200


def stream_that_nobody_reads(server: Server) -> socket.socket:
    """A client of a stream without end, with the smallest buffer that there is."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    client.connect(("127.0.0.1", server.http_port))
    body = json.dumps({"text_input": "Hello", "stream": True, **ENDLESS}).encode()
    head = f"POST /v2/models/llm/generate_stream HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    client.sendall(head.encode() + body)
    return client


@pytest.mark.parametrize("busy", [True, False], ids=["busy", "idle"])
def test_engine_that_raises_is_given_up(tmp_path: Path, busy: bool) -> None:
    engine = {**TINY_ENGINE, "model": str(tiny_model()), "logits_processors": ["hindrances:Raising"]}
    write_model(tmp_path / "models", "llm", engine)
    trigger = tmp_path / "raise"
    with running(tmp_path, tmp_path / "models", prepare=add_hindrances, RAISE_WHEN=str(trigger)) as server:
        answers: list[Answer] = []
        threads = [in_background(server, answers, **ENDLESS) for _ in range(4 if busy else 0)]
        wait_until(lambda: server.metric("vllm:num_requests_running") == len(threads))
        trigger.touch()
        begun = time.monotonic()
        # An engine that does nothing raises nothing: the next proof of its health makes it raise.
        wait_until(lambda: RAISED in server.log, PROBE_AFTER_SECONDS + 15)
        raised = time.monotonic()
        wait_until(lambda: server.health().status != 200, 15)
        assert time.monotonic() - raised < 15
        for thread in threads:
            thread.join(60)
        told = [(answer.status >= 400, answer.error) for answer in answers]
        assert told == [(True, "Model is unavailable due to unhealthy vLLM engine")] * len(threads)
        assert server.wait_exit(60) == 1
        assert time.monotonic() - begun < 60
        assert server.processes("") == []
        assert server.termination_message["cause"] == "the engine was given up: the engine has died"
        assert RAISED in server.termination_message["engineLine"]


def test_frozen_engine_is_not_ready_and_thawed_is_again_then_killed_server_leaves_nothing(tmp_path: Path) -> None:
    segments = left_in_shared_memory()
    with running(tmp_path, models(tmp_path)) as server:
        assert server.health().status == 200
        # OpenAI's protocol is off unless openai.json is there.
        assert server.request("GET", "/v1/models", port=server.front_port).status == 404
        (core,) = server.processes("VLLM::EngineCor")
        os.kill(core, signal.SIGSTOP)
        begun = time.monotonic()
        wait_until(lambda: server.health().status == 503, 60)
        # On a busy machine a little more than the promised 15 s must be allowed.
        assert time.monotonic() - begun < 20
        reason = server.health().body["reason"]
        assert reason.startswith("the engine has not responded for ")
        assert reason.endswith(" seconds; the engine core does not run")
        os.kill(core, signal.SIGCONT)
        wait_until(lambda: server.health().status == 200, 60)
        assert server.generate(max_tokens=2).status == 200

        (triton,) = [pid for pid in server.processes("tritonserver") if pid in server.processes("--http-port")][-1:]
        os.kill(triton, signal.SIGKILL)
        assert server.wait_exit(60) == 128 + signal.SIGKILL
        assert server.processes("") == []
        assert server.termination_message["cause"] == "tritonserver ended with signal 9"
    assert left_in_shared_memory() <= segments


def test_what_stays_stopped_ends_the_container_and_is_named(tmp_path: Path) -> None:
    with running(tmp_path, models(tmp_path)) as server:
        (triton,) = [pid for pid in server.processes("") if name_of(pid) == "tritonserver"]
        os.kill(triton, signal.SIGSTOP)
        wait_until(lambda: server.health().status == 503, 15)
        assert server.health().body["reason"] == "tritonserver is stopped"
        os.kill(triton, signal.SIGCONT)
        wait_until(lambda: server.health().status == 200, 15)
        (core,) = server.processes("VLLM::EngineCor")
        os.kill(core, signal.SIGSTOP)
        begun = time.monotonic()
        assert server.wait_exit(90) == 1
        assert STOPPED_SECONDS <= time.monotonic() - begun < 60
        assert server.processes("") == []
        assert server.termination_message["cause"] == "the engine core was stopped (SIGSTOP) for 30 seconds"


def test_dead_engine_answers_those_who_wait_and_ends_the_container(tmp_path: Path) -> None:
    with running(tmp_path, models(tmp_path)) as server:
        answers: list[Answer] = []
        threads = [in_background(server, answers, **ENDLESS) for _ in range(4)]
        wait_until(lambda: server.metric("vllm:num_requests_running") == 4)
        (core,) = server.processes("VLLM::EngineCor")
        os.kill(core, signal.SIGKILL)
        for thread in threads:
            thread.join(60)
        assert len(answers) == 4
        for answer in answers:
            assert answer.status >= 400
            assert answer.error == "Model is unavailable due to unhealthy vLLM engine"
        assert server.wait_exit(60) == 1
        assert server.processes("") == []
        assert server.termination_message["cause"] == "the engine was given up: the engine core was killed by signal 9"


READY = """
import sys
from types import SimpleNamespace
from unittest.mock import MagicMock
sys.modules["triton_python_backend_utils"] = MagicMock()  # only the server's process has it
from backend.triton.model import TritonPythonModel
model = object.__new__(TritonPythonModel)
for problem in ("", "the engine has died"):
    model._health = SimpleNamespace(problem=lambda: problem)
    print(model.is_ready())
"""


def test_a_server_that_asks_the_model_learns_whether_it_is_ready(tmp_path: Path) -> None:
    """Servers from March 2026 on ask at /v2/health/ready and /v2/models/X/ready; the one of these tests does not."""
    assert script_lines(tmp_path, READY) == ["True", "False"]
