"""A model hub on loopback and the inspection program run against it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from e2e.hub import server
from triton_vllm_operator.plan.inspection_protocol import Failure, InspectedModel, InspectionResult, decode_result

SOURCES = Path(__file__).parents[2] / "src"


TOKEN = "hf_secret"


class _Hub(server.Hub):
    """The cluster's hub, with whatever repositories are in its folder when they are first asked for."""

    def __init__(self, folder: Path, token: str) -> None:
        super().__init__(folder, token)
        self._found: dict[str, list[Path]] = {}

    def files(self, repository: str) -> list[Path]:
        if repository not in self._found:
            files = (path for path in (self.folder / repository).rglob("*") if path.is_file())
            self._found[repository] = sorted(files)
        return self._found[repository]


@dataclass
class Running:
    """A hub. `sent`: bytes of the bodies of each answer, by path."""

    address: str
    folder: Path
    sent: list[tuple[str, int]] = field(default_factory=list)
    ranges: bool = True

    def inspect(self, repository: str, *options: str, **env: str) -> InspectionResult:
        """What the command says, in a process of its own as in the pod."""
        message = self.folder / "termination-log"
        command = [sys.executable, "-m", "triton_vllm_operator.inspect", f"--repository={repository}"]
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "PYTHONPATH": str(SOURCES)}
        environment |= {"HF_ENDPOINT": self.address, **env}
        done = subprocess.run(
            [*command, f"--message-file={message}", *options],
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
        )
        outcome = decode_result(message.read_text())
        assert done.returncode == (0 if isinstance(outcome, InspectedModel) else 1), done.stderr
        assert TOKEN not in done.stdout + done.stderr + message.read_text()
        return outcome

    def failure(self, repository: str, *options: str, **env: str) -> Failure:
        outcome = self.inspect(repository, *options, **env)
        assert isinstance(outcome, Failure), outcome
        return outcome


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Running]:
    running = Running("", tmp_path)

    class Handler(server.Handler):
        hub = _Hub(tmp_path, TOKEN)

        def log_message(self, *_: object) -> None:
            """Quiet."""

        def _send_range(self, content: bytes, headers: dict[str, str], *, body: bool) -> None:
            if not running.ranges:
                del self.headers["Range"]
            super()._send_range(content, headers, body=body)

        def _send(self, status: HTTPStatus, content: bytes, headers: dict[str, str], *, body: bool) -> None:
            running.sent.append((self.path, len(content)))
            super()._send(status, content, headers, body=body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        running.address = f"http://127.0.0.1:{httpd.server_address[1]}"
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield running
        httpd.shutdown()
        thread.join()
