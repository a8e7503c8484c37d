"""What a client can make the pod reach with the media of its requests: nothing but hosts that are named."""

from __future__ import annotations

import base64
import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend_tests.test_vision import png
from testing.server import TINY_ENGINE, Answer, Server, running, script_lines, tiny_model, write_model

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

NAMED = "127.0.0.2"
PICTURE = png("red")
DATA = "data:image/png;base64," + base64.b64encode(PICTURE).decode()
FAILED = "the media cannot be loaded from its URL. Check the URL, or send the data as a data URI."
SDP = (
    b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
)


class Host:
    """An HTTP server on every loopback address that counts what reaches it."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        host = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.paths.append(f"{self.connection.getsockname()[0]}{self.path}")
                if self.path.startswith("/to/"):
                    self.send_response(302)
                    self.send_header("Location", f"http://{self.path.removeprefix('/to/')}")
                    self.end_headers()
                    return
                self.send_response(200 if self.path in ("/picture", "/text") else 500)
                self.end_headers()
                self.wfile.write(PICTURE if self.path == "/picture" else b"secret")

            def log_message(self, *_: Any) -> None: ...

        self._server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    made = Host()
    yield made
    made.close()


@pytest.fixture(scope="module")
def seer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A model that sees: the address 127.0.0.2 is named, and the name localhost without an address."""
    folder = tmp_path_factory.mktemp("media")
    engine = {
        **TINY_ENGINE,
        "model": str(tiny_model("seer")),
        "hf_overrides": {},
        "max_model_len": 512,
        "allowed_media_domains": [NAMED, "localhost"],
    }
    write_model(folder / "models", "llm", engine, openai={})
    with running(folder, folder / "models") as started:
        yield started


def chat(server: Server, url: Any) -> Answer:
    content = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": url}}]
    body = {"model": "llm", "messages": [{"role": "user", "content": content}], "max_tokens": 2}
    return server.request("POST", "/v1/chat/completions", body, port=server.front_port)


def message(answer: Answer) -> str:
    return str(answer.body["error"]["message"])


def test_data_and_named_hosts_are_loaded(seer: Server, host: Host) -> None:
    assert chat(seer, DATA).status == 200
    assert chat(seer, f"http://{NAMED}:{host.port}/picture").status == 200
    assert chat(seer, f"http://{NAMED}:{host.port}/to/{NAMED}:{host.port}/picture").status == 200


UNNAMED = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f.1",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "169.254.169.254",
    "nowhere.test",
]


@pytest.mark.parametrize("name", [*UNNAMED, f"{NAMED}@127.0.0.1", f"{NAMED}.nip.test", f"{NAMED}#@127.0.0.1"])
def test_other_hosts_are_not_asked(seer: Server, host: Host, name: str) -> None:
    before = len(host.paths)
    answer = chat(seer, f"http://{name}:{host.port}/picture")
    assert answer.status == 400, answer
    assert not [path for path in host.paths[before:] if not path.startswith(NAMED)]


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://127.0.0.2/x", "gopher://127.0.0.2/", "/etc/passwd", "x", ""]
)
def test_other_schemes_are_refused(seer: Server, url: str) -> None:
    answer = chat(seer, url)
    assert answer.status == 400, answer


def test_a_name_that_leads_inside_is_not_connected_to(seer: Server, host: Host) -> None:
    before = len(host.paths)
    answer = chat(seer, f"http://localhost:{host.port}/picture")
    assert (answer.status, message(answer)) == (400, FAILED)
    assert host.paths[before:] == []


@pytest.mark.parametrize("target", ["127.0.0.1", "localhost", "169.254.169.254", "0.0.0.0"])
def test_redirects_are_checked(seer: Server, host: Host, target: str) -> None:
    before = len(host.paths)
    answer = chat(seer, f"http://{NAMED}:{host.port}/to/{target}:{host.port}/picture")
    assert (answer.status, message(answer)) == (400, FAILED)
    assert [path.split("/")[0] for path in host.paths[before:]] == [NAMED]


def test_endless_redirects_end(seer: Server, host: Host) -> None:
    assert message(chat(seer, f"http://{NAMED}:{host.port}" + f"/to/{NAMED}:{host.port}" * 9 + "/picture")) == FAILED


def test_the_error_does_not_tell_what_answered(seer: Server, host: Host) -> None:
    with socket.socket() as unused:
        unused.bind((NAMED, 0))
        closed = unused.getsockname()[1]
    urls = (
        f"{NAMED}:{host.port}/text",
        f"{NAMED}:{host.port}/missing",
        f"{NAMED}:{closed}/",
        f"localhost:{host.port}/",
    )
    answers = [chat(seer, f"http://{url}") for url in urls]
    assert {(each.status, message(each)) for each in answers} == {(400, FAILED)}


@pytest.mark.parametrize(
    "data", ["data:image/png;base64,%%%", "data:image/png;base64,QUJD", "data:image/png,x", "data:x"]
)
def test_broken_data_is_the_clients_fault(seer: Server, data: str) -> None:
    answer = chat(seer, data)
    assert answer.status == 400, answer
    assert "data URI" in message(answer)


@pytest.mark.parametrize("kind", ["video_url", "audio_url", "image_url"])
def test_every_protocol_and_kind_of_media(seer: Server, host: Host, kind: str) -> None:
    url = f"http://127.0.0.1:{host.port}/picture"
    messages = [{"role": "user", "content": [{"type": kind, kind: {"url": url}}]}]
    parts = [{"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": url}]}]
    source = {"type": "image", "source": {"type": "url", "url": url}}
    before = len(host.paths)
    for path, body in (
        ("/v1/chat/completions", {"messages": messages, "max_tokens": 2}),
        ("/v1/responses", {"input": parts, "max_output_tokens": 16}),
        ("/tokenize", {"messages": messages}),
        ("/v1/messages", {"messages": [{"role": "user", "content": [source]}], "max_tokens": 2}),
    ):
        answer = seer.request("POST", path, {"model": "llm", **body}, port=seer.front_port)
        assert 400 <= answer.status < 500, (path, answer)
    assert host.paths[before:] == []


FORMATS = """
import io, os, sys
from backend.openai import media
media.install(os.environ)
import cv2
print(*(cv2.VideoCapture(io.BytesIO(open(path, "rb").read()), cv2.CAP_FFMPEG, []).isOpened() for path in sys.argv[1:]))
"""


def test_a_video_that_is_a_list_of_addresses_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "video").write_bytes(SDP)
    assert script_lines(tmp_path, FORMATS, str(tmp_path / "video"))[-1] == "False"
