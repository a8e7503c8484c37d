"""The inspection of a repository, against the test cluster's own hub on loopback; the command runs as a process."""

from __future__ import annotations

import json
import os
import socketserver
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from e2e.hub import server
from tests.inspect.files import header, llama, shape, tensors
from tests.inspect.hub import TOKEN, Running
from triton_vllm_operator.plan.inspection_protocol import InspectedModel

WEIGHTS = b"\0" * 2**22


def test_a_public_model_is_read_at_the_commit_without_its_weights(hub: Running) -> None:
    llama(hub.folder / "demo" / "llama", weights=WEIGHTS)
    outcome = hub.inspect("demo/llama")
    assert outcome == InspectedModel(server.COMMIT, shape())
    assert sum(size for _, size in hub.sent) < 2**19
    assert all(server.COMMIT in path for path, _ in hub.sent if "/resolve/" in path)


def test_shards_are_read_by_ranges_too(hub: Running) -> None:
    llama(hub.folder / "demo" / "llama", shards=20, weights=b"\0" * 2**20)
    assert hub.inspect("demo/llama", "--revision=v1") == InspectedModel(server.COMMIT, shape())
    assert max(size for _, size in hub.sent) <= 256 * 2**10


def test_a_server_that_ignores_ranges_is_read_only_as_far_as_needed(hub: Running) -> None:
    hub.ranges = False
    folder = llama(hub.folder / "demo" / "llama")
    (folder / "model.safetensors").write_bytes(header(tensors(), padding=2**20) + WEIGHTS)
    assert hub.inspect("demo/llama") == InspectedModel(server.COMMIT, shape())


def test_a_gated_model_opens_with_the_right_token_only(hub: Running) -> None:
    llama(hub.folder / "gated" / "llama")
    without, wrong = hub.failure("gated/llama"), hub.failure("gated/llama", HF_TOKEN="hf_other")
    assert (without.reason, wrong.reason) == ("ModelGated", "TokenRefused")
    assert "spec.model.tokenSecretRef" in without.message
    assert f"{hub.address}/gated/llama" in wrong.message
    assert hub.inspect("gated/llama", HF_TOKEN=TOKEN) == InspectedModel(server.COMMIT, shape())


def test_a_gated_model_opens_with_a_token_in_each_form_that_vllm_takes(hub: Running, tmp_path: Path) -> None:
    llama(hub.folder / "gated" / "llama")
    file = tmp_path / "home" / "token"
    file.parent.mkdir()
    file.write_text(f"{TOKEN}\n")
    forms = [{"HUGGING_FACE_HUB_TOKEN": TOKEN}, {"HF_TOKEN_PATH": str(file)}, {"HF_HOME": str(file.parent)}]
    for form in forms:
        assert hub.inspect("gated/llama", **form) == InspectedModel(server.COMMIT, shape()), form


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        ({"HF_TOKEN": ""}, "HF_TOKEN is empty"),
        ({"HUGGING_FACE_HUB_TOKEN": " \n"}, "HUGGING_FACE_HUB_TOKEN is empty"),
        ({"HF_TOKEN_PATH": "/vault/secrets/token"}, "HF_TOKEN_PATH is /vault/secrets/token: No such file or directory"),
        ({"HF_TOKEN_PATH": "/dev/null"}, "the file /dev/null is empty"),
        ({"HF_TOKEN_PATH": "/dev"}, "HF_TOKEN_PATH is /dev: Is a directory"),
    ],
)
def test_a_token_that_was_given_but_cannot_be_read_is_not_a_missing_one(
    hub: Running, form: dict[str, str], problem: str
) -> None:
    llama(hub.folder / "gated" / "llama")
    found = hub.failure("gated/llama", **form)
    assert (found.reason, found.definite) == ("TokenUnreadable", False), "the serving pod may have it"
    assert problem in found.message


@pytest.mark.parametrize(
    ("variable", "problem"),
    [
        ("HF_TOKEN", "the Secret that spec.model.tokenSecretRef names"),
        ("HUGGING_FACE_HUB_TOKEN", "HUGGING_FACE_HUB_TOKEN of spec.podTemplate"),
        ("HF_TOKEN_PATH", "the file "),
    ],
)
def test_a_rejected_token_is_named_by_where_it_is_set(tmp_path: Path, variable: str, problem: str) -> None:
    class Rejecting(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(403)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    file = tmp_path / "token"
    file.write_text("hf_other")
    with ThreadingHTTPServer(("127.0.0.1", 0), Rejecting) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        running = Running(f"http://127.0.0.1:{httpd.server_address[1]}", tmp_path)
        value = str(file) if variable == "HF_TOKEN_PATH" else "hf_other"
        found = running.failure("org/model", **{variable: value})
        httpd.shutdown()
    assert found.reason == "TokenRefused"
    assert f"Put a valid token into {problem}" in found.message


def test_an_unknown_repository_and_revision_are_told_apart(hub: Running) -> None:
    llama(hub.folder / "demo" / "llama")
    unknown, revision = hub.failure("demo/nothing"), hub.failure("demo/llama", "--revision=v9")
    assert (unknown.reason, revision.reason) == ("ModelNotFound", "RevisionNotFound")
    assert "demo/nothing" in unknown.message
    assert "'v9'" in revision.message


def test_a_repository_without_config_and_a_name_that_is_none(hub: Running) -> None:
    folder = llama(hub.folder / "demo" / "llama")
    (folder / "config.json").unlink()
    assert hub.failure("demo/llama").reason == "FileMissing"
    assert hub.failure("demo/a--b..c").reason == "ModelNotFound"


@pytest.mark.parametrize(("uri", "reason"), server.CANNOT_BE_SERVED.items())
def test_the_test_clusters_broken_repositories_are_what_they_are_said_to_be(
    hub: Running, uri: str, reason: str
) -> None:
    for _ in range(2):  # as in a container that starts again
        server.write_broken(hub.folder)
    llama(hub.folder / "demo" / "second-llama")
    repository, _, revision = uri.removeprefix("hf://").partition("@")
    told = hub.failure(repository, *([f"--revision={revision}"] if revision else []))
    assert (told.reason, told.definite) == (reason, True)
    assert repository in told.message


def test_a_truncated_header_is_told(hub: Running) -> None:
    folder = llama(hub.folder / "demo" / "llama")
    (folder / "model.safetensors").write_bytes(header(tensors())[:200])
    assert hub.failure("demo/llama").reason == "SafetensorsTruncated"


def test_a_hostile_config_is_told_as_in_a_folder(hub: Running) -> None:
    folder = llama(hub.folder / "demo" / "llama")
    (folder / "config.json").write_text(json.dumps({"a": "x" * 5 * 2**20}))
    assert hub.failure("demo/llama").reason == "ConfigTooLarge"


def test_nobody_at_the_address_is_told_within_seconds() -> None:
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler, bind_and_activate=False) as free:
        free.server_bind()  # and never listens: connections are refused
        running = Running(f"http://127.0.0.1:{free.server_address[1]}", Path(os.environ.get("TMPDIR", "/tmp")))
        began = time.monotonic()
        told = running.failure("demo/llama")
    assert told.reason == "HubUnreachable"
    assert time.monotonic() - began < 30


def test_offline_mode_reaches_no_hub(hub: Running) -> None:
    llama(hub.folder / "demo" / "llama")
    assert hub.failure("demo/llama", HF_HUB_OFFLINE="1").reason == "HubUnreachable"
    assert hub.sent == []


def test_a_thousand_shards_are_read_over_the_network_within_the_time_to_tell(hub: Running) -> None:
    folder = llama(hub.folder / "demo" / "llama")
    (folder / "model.safetensors").unlink()
    for number in range(1000):
        named = {f"model.layers.0.mlp.experts.{number}.up_proj.weight": [1, 1]}
        (folder / f"model-{number}.safetensors").write_bytes(header(named))
    began = time.monotonic()
    told = hub.failure("demo/llama")
    took = time.monotonic() - began
    assert told.reason == "CheckpointIncomplete", "all were read, and hold one layer of two"
    assert len([path for path, _ in hub.sent if "/resolve/" in path]) == 1001
    assert took < 45


def test_a_network_that_swallows_everything_is_told_before_anything_else_waits_for_it(tmp_path: Path) -> None:
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as silent:  # it never accepts
        running = Running(f"http://127.0.0.1:{silent.server_address[1]}", tmp_path)
        began = time.monotonic()
        told = running.failure("demo/llama", "--first-answer=3")
        assert time.monotonic() - began < 30, "before the limit of 45 s"
    assert told.reason == "HubUnreachable"
    assert "within 3 s" in told.message
    assert "network policies" in told.message


class _Dripping(socketserver.BaseRequestHandler):
    """Answers one byte at a time and never ends."""

    def handle(self) -> None:
        self.request.recv(65536)
        self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n{")
        try:
            while True:
                self.request.sendall(b" ")
                time.sleep(0.2)
        except OSError:
            return


def test_a_hub_that_drips_is_given_up_at_the_limit(tmp_path: Path) -> None:
    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), _Dripping) as dripping:
        thread = threading.Thread(target=dripping.serve_forever)
        thread.start()
        running = Running(f"http://127.0.0.1:{dripping.server_address[1]}", tmp_path)
        told = running.failure("demo/llama", "--limit=4")
        dripping.shutdown()
        thread.join()
    assert told.reason == "HubUnreachable"
    assert "within 4 s" in told.message
