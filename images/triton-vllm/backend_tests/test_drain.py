"""A stop loses no request."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from contract.timing import CLOSE_SECONDS
from testing.grpc_stream import GrpcStream
from testing.server import (
    ANSWER_SECONDS,
    ENDLESS,
    TINY_ENGINE,
    Answer,
    Server,
    add_hindrances,
    left_in_shared_memory,
    running,
    tiny_model,
    wait_until,
    write_model,
)

TOKENS = 400  # of a slow engine more than a minute and a half
DRAIN_SECONDS = 5

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]


def test_stop_under_load_loses_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    segments = left_in_shared_memory()
    engine = {**TINY_ENGINE, "model": str(tiny_model()), "max_num_seqs": 4, "logits_processors": ["hindrances:Slow"]}
    write_model(tmp_path / "models", "llm", engine)
    slow = tmp_path / "slow"
    answers: list[Answer] = []
    streams: list[int] = []
    flag = f"--exit-timeout-secs={ANSWER_SECONDS}"
    with running(tmp_path, tmp_path / "models", flag, prepare=add_hindrances, SLOW_WHILE=str(slow)) as server:
        # Nothing ends before the stop, however late this test gets its turn on a busy machine.
        slow.touch()
        wanted = {"max_tokens": TOKENS, "ignore_eos": True, "return_num_output_tokens": True}

        def ask() -> None:
            answers.append(server.generate(**wanted))

        def follow() -> None:
            streams.append(sum(event["num_output_tokens"] for event in server.stream(**wanted)))

        threads = [threading.Thread(target=target) for target in (ask, follow) for _ in range(4)]
        for thread in threads:
            thread.start()
        grpc = GrpcStream(server)
        sampling = json.dumps({"max_tokens": TOKENS, "ignore_eos": True})
        grpc.send(text_input="Hello", stream=True, sampling_parameters=sampling, return_num_output_tokens=True)
        # Four run, five wait in the engine's queue.
        wait_until(lambda: server.metric("vllm:num_requests_waiting") == 5)
        server.process.send_signal(signal.SIGTERM)
        assert (answers, streams) == ([], [])
        slow.unlink()
        for thread in threads:
            thread.join(ANSWER_SECONDS)
        counts = [result.as_numpy("num_output_tokens") for result in grpc.collect()]
        grpc.close()
        assert server.wait_exit(60) == 0
        assert server.processes("") == []
    assert [answer.status for answer in answers] == [200] * 4
    assert [answer.body["num_output_tokens"] for answer in answers] == [TOKENS] * 4
    assert streams == [TOKENS] * 4
    assert sum(count[0] for count in counts if count is not None) == TOKENS
    assert (tmp_path / "termination").read_text() == ""
    assert left_in_shared_memory() <= segments


def test_expired_drain_cancels_what_runs_on_either_port_and_says_how_many(tmp_path: Path) -> None:
    segments = left_in_shared_memory()
    engine = {**TINY_ENGINE, "model": str(tiny_model()), "max_num_seqs": 1}
    write_model(tmp_path / "models", "llm", engine, openai={})
    answers: list[Answer] = []
    openai_answers: list[Answer] = []
    with running(tmp_path, tmp_path / "models", f"--exit-timeout-secs={DRAIN_SECONDS}") as server:
        openai = {"model": "llm", "prompt": "Hello", **ENDLESS}

        def complete() -> None:
            openai_answers.append(server.request("POST", "/v1/completions", openai, port=server.front_port))

        threads = [threading.Thread(target=lambda: answers.append(server.generate(**ENDLESS))) for _ in range(4)]
        threads += [threading.Thread(target=complete) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_until(lambda: server.metric("vllm:num_requests_waiting") == 7)
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(60)
        assert server.wait_exit(60) == 0
        assert DRAIN_SECONDS <= time.monotonic() - began < DRAIN_SECONDS + CLOSE_SECONDS
        assert server.processes("") == []
    assert "8 requests are cancelled" in server.log
    assert [answer.status for answer in answers] == [400] * 4  # tritonserver's choice for whatever a response says
    assert [answer.status for answer in openai_answers] == [503] * 4
    for error in (answers[0].error, openai_answers[0].body["error"]["message"]):
        assert "the time to finish requests is over" in error
    assert "Exception in ASGI application" not in server.log
    assert left_in_shared_memory() <= segments


def keep_alive(server: Server) -> Any:
    """A client's pool: a connection on which a request was answered, kept for the next one."""
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port)
    connection.request("POST", "/v2/models/llm/generate", json.dumps({"text_input": "Hello", "max_tokens": 1}))
    assert connection.getresponse().read()
    return connection


def half_a_request(server: Server) -> Any:
    connection = socket.create_connection(("127.0.0.1", server.http_port))
    connection.sendall(b"POST /v2/models/llm/generate HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    return connection


def idle_stream(server: Server) -> Any:
    stream = GrpcStream(server)
    stream.send(text_input="Hello", sampling_parameters=json.dumps({"max_tokens": 1}))
    stream.collect()
    return stream


def refused_on_a_stream(server: Server) -> Any:
    """tritonserver refuses the request itself, and counts it as running ever after."""
    stream = GrpcStream(server)
    stream.send(no_such_input="Hello")
    assert stream.answers.get(timeout=60)[1] is not None
    stream.close()
    return stream


def test_connections_that_clients_left_open_do_not_delay_the_end(tmp_path: Path) -> None:
    write_model(tmp_path / "models", "llm", {**TINY_ENGINE, "model": str(tiny_model())})
    with running(tmp_path, tmp_path / "models", "--exit-timeout-secs=120") as server:
        kept = [leave(server) for leave in (keep_alive, half_a_request, idle_stream, refused_on_a_stream)]
        server.process.send_signal(signal.SIGTERM)
        assert server.wait_exit(60) == 0
        assert server.processes("") == []
        for connection in kept:
            connection.close()
    assert (tmp_path / "termination").read_text() == ""


def test_a_client_that_reads_slowly_gets_its_whole_answer(tmp_path: Path) -> None:
    write_model(tmp_path / "models", "llm", {**TINY_ENGINE, "model": str(tiny_model())}, openai={})
    wanted = {"max_tokens": 64, "ignore_eos": True, "n": 8, "stream": True, "logprobs": 5}
    body = json.dumps({"model": "llm", "prompt": "Hello", **wanted})
    with running(tmp_path, tmp_path / "models", "--exit-timeout-secs=120") as server:
        kept = keep_alive(server)  # without it tritonserver ends by itself, and the kernel sends what is left
        before = server.metric("vllm:generation_tokens_total")
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            client.connect(("127.0.0.1", server.front_port))
            head = ["POST /v1/completions HTTP/1.1", "Host: x", "Content-Type: application/json"]
            client.sendall("\r\n".join([*head, f"Content-Length: {len(body)}", "", body]).encode())
            wait_until(lambda: server.metric("vllm:generation_tokens_total") >= before + 8 * 64)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(8)
            assert server.process.poll() is None
            answer = b"".join(iter(lambda: client.recv(1 << 16), b""))
        assert answer.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        assert server.wait_exit(60) == 0
        kept.close()
