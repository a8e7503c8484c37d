"""What a client must not reach: the ways to change a server, or to make it read and write memory and files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc as grpc

from backend.launcher import serve
from testing.server import Server

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

# 127.0.0.1 and ::1 as the kernel writes them.
LOOPBACK = ("0100007F", "00000000000000000000000001000000")
REGION = {"key": "/x", "offset": 0, "byte_size": 64}
CLOSED = [
    ("GET", "/v2/systemsharedmemory/status", None),
    ("POST", "/v2/systemsharedmemory/region/x/register", REGION),
    ("POST", "/v2/systemsharedmemory/unregister", None),
    ("GET", "/v2/cudasharedmemory/status", None),
    ("POST", "/v2/cudasharedmemory/unregister", None),
    ("GET", "/v2/trace/setting", None),
    ("POST", "/v2/trace/setting", {"trace_level": ["TIMESTAMPS"], "trace_file": "/tmp/x"}),
    ("POST", "/v2/models/llm/trace/setting", {"trace_level": ["TENSORS"]}),
    ("GET", "/v2/logging", None),
    ("POST", "/v2/logging", {"log_verbose_level": 4, "log_file": "/tmp/x"}),
]
GRPC_CLOSED: dict[str, Callable[[Any], Any]] = {
    "system shared memory": lambda client: client.get_system_shared_memory_status(),
    "register": lambda client: client.register_system_shared_memory("x", "/x", 64),
    "cuda shared memory": lambda client: client.get_cuda_shared_memory_status(),
    "trace": lambda client: client.get_trace_settings(),
    "trace of a model": lambda client: client.update_trace_settings("llm", {"trace_level": ["TENSORS"]}),
    "log": lambda client: client.get_log_settings(),
    "log level": lambda client: client.update_log_settings({"log_verbose_level": 4}),
}


@pytest.mark.parametrize(("method", "path", "body"), CLOSED)
def test_closed_over_http(server: Server, method: str, path: str, body: Any) -> None:
    answer = server.request(method, path, body)
    assert answer.status == 403, answer
    assert "This API is restricted" in answer.error


@pytest.mark.parametrize("call", GRPC_CLOSED)
def test_closed_over_grpc(server: Server, call: str) -> None:
    with grpc.InferenceServerClient(f"127.0.0.1:{server.grpc_port}") as client:
        with pytest.raises(grpc.InferenceServerException, match="This protocol is restricted"):
            GRPC_CLOSED[call](client)
        assert client.is_model_ready("llm")


@pytest.mark.parametrize("verb", ["load", "unload"])
@pytest.mark.parametrize("body", [None, {"parameters": {"config": "{}", "file:1/model.py": "eA=="}}])
def test_models_cannot_be_changed(server: Server, verb: str, body: Any) -> None:
    for model in ("llm", "other"):
        answer = server.request("POST", f"/v2/repository/models/{model}/{verb}", body)
        assert answer.status >= 400
        assert "explicit model load / unload is not allowed" in answer.error
    with grpc.InferenceServerClient(f"127.0.0.1:{server.grpc_port}") as client:
        change = client.load_model if verb == "load" else client.unload_model
        with pytest.raises(grpc.InferenceServerException, match="is not allowed"):
            change("llm")
    assert server.generate(max_tokens=1).status == 200


def test_what_clients_need_is_open(server: Server) -> None:
    for method, path in [
        ("GET", "/v2"),
        ("GET", "/v2/health/ready"),
        ("GET", "/v2/models/llm"),
        ("GET", "/v2/models/llm/config"),
        ("GET", "/v2/models/llm/stats"),
        ("POST", "/v2/repository/index"),
    ]:
        assert server.request(method, path, {} if method == "POST" else None).status == 200, path


def test_nothing_that_others_can_reach_listens_but_the_four_ports(server: Server) -> None:
    server.generate(max_tokens=1)
    ours = {server.http_port, server.grpc_port, server.metrics_port, server.front_port}
    others = {(name, address) for name, address, port in listening(server) if port not in ours}
    assert {one for one in others if one[1] not in LOOPBACK} == set()


def listening(server: Server) -> set[tuple[str, str, int]]:
    """(process, address as the kernel writes it, TCP port) on which this server listens."""
    found = set()
    for pid in server.processes(""):
        sockets = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            for line in Path(table).read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == "0A" and f"socket:[{words[9]}]" in sockets:
                    address, port = words[1].rsplit(":", 1)
                    found.add((Path(f"/proc/{pid}/comm").read_text().strip(), address, int(port, 16)))
    return found


def test_own_restrictions_stay() -> None:
    own = ["--http-restricted-api=health,trace:key=value", "--grpc-restricted-protocol", "logging:key=value"]
    (http, rpc) = serve.restrictions([*own, "--log-info=true"])
    assert http.startswith("--http-restricted-api=logging,shared-memory:")
    assert rpc.startswith("--grpc-restricted-protocol=shared-memory,trace:")
    every = ["--http-restricted-api=shared-memory,trace:k=v", "--http-restricted-api=logging:k=w"]
    assert [flag.split("=")[0] for flag in serve.restrictions(every)] == ["--grpc-restricted-protocol"]
