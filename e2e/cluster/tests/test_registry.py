"""Whether the registry answers is asked over HTTP, past any proxy."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from e2e.cluster import registry
from e2e.cluster.cluster_state import ClusterState


class Holding(BaseHTTPRequestHandler):
    """A registry with one image, app:1."""

    def do_HEAD(self) -> None:
        manifest = self.path == "/v2/app/manifests/1" and "oci.image.manifest" in self.headers["Accept"]
        self.send_response(200 if self.path == "/v2/" or manifest else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def served(state: ClusterState, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClusterState]:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Holding)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield replace(state, registry_port=server.server_port)
    server.shutdown()
    server.server_close()


def test_a_registry_that_answers_tells_what_it_holds(served: ClusterState) -> None:
    assert registry.answers(served)
    assert registry.has_image(served, "app", "1")
    assert not registry.has_image(served, "app", "2")


def test_a_registry_that_is_down_holds_nothing(state: ClusterState) -> None:
    nobody = replace(state, registry_port=9)
    assert not registry.answers(nobody)
    assert not registry.has_image(nobody, "app", "1")
