"""Ready means tokens: an engine that is frozen or dead is found out, and nobody waits for it for ever."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from testing.server import (
    ENDLESS,
    TINY_ENGINE,
    Answer,
    Server,
    left_in_shared_memory,
    running,
    tiny_model,
    wait_until,
    write_model,
)

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]


def models(folder: Path) -> Path:
    write_model(folder / "models", "llm", {**TINY_ENGINE, "model": str(tiny_model())})
    return folder / "models"


def in_background(server: Server, answers: list[Answer], **parameters: Any) -> threading.Thread:
    def ask() -> None:
        try:
            answers.append(server.generate(**parameters))
        except OSError as error:
            answers.append(Answer(0, str(error)))

    thread = threading.Thread(target=ask)
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
        assert "the engine has given nothing for" in server.health().body["reason"]
        os.kill(core, signal.SIGCONT)
        wait_until(lambda: server.health().status == 200, 60)
        assert server.generate(max_tokens=2).status == 200

        (triton,) = [pid for pid in server.processes("tritonserver") if pid in server.processes("--http-port")][-1:]
        os.kill(triton, signal.SIGKILL)
        assert server.wait_exit(60) == 128 + signal.SIGKILL
        assert server.processes("") == []
        assert server.termination_message["cause"] == "tritonserver ended with signal 9"
    assert left_in_shared_memory() <= segments


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
        assert server.termination_message["cause"] == "the engine was given up: the engine has died"
