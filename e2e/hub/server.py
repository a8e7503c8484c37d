"""The part of the Hugging Face hub's HTTP API that downloads use, over generated tiny models.

Runs in a pod of the serving image: `python3 server.py FOLDER PORT`. It needs tiny.py beside it, which makes the
models. Repositories whose owner is `gated` ask for the token in HUB_TOKEN.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REVISIONS = ("main", "v1", COMMIT)
SPEAKER = "demo/tiny-llama"
"""The repository whose model has learned a sentence."""
TWO_CACHES = "demo/tiny-gemma"
"""The repository whose model keeps two kinds of KV cache."""
EMBEDDING, RANKER = "demo/tiny-bert", "demo/tiny-ranker"
"""Repositories whose models embed, and score pairs of texts."""
REPOSITORIES = {
    SPEAKER: "speaker",
    "demo/second-llama": "llama",
    "gated/tiny-llama": "llama",
    TWO_CACHES: "gemma",
    EMBEDDING: "embedding",
    RANKER: "ranker",
}
"""What can be served, with the kind of tiny model."""
BROKEN: dict[str, dict[str, dict[str, Any]]] = {
    "broken/no-config": {"tokenizer.json": {}},
    "broken/encoder": {"config.json": {"architectures": ["ViTModel"], "model_type": "vit"}},
    "broken/own-code": {
        "config.json": {
            "architectures": ["OwnForCausalLM"],
            "model_type": "own",
            "auto_map": {"AutoConfig": "own.OwnConfig"},
        }
    },
}
"""Repositories that no engine can serve: their files."""
CANNOT_BE_SERVED = {
    "hf://demo/second-llama@nowhere": "RevisionNotFound",
    "hf://broken/no-config": "FileMissing",
    "hf://broken/encoder": "NotACausalModel",
    "hf://broken/own-code": "NeedsTrustRemoteCode",
}
"""Models for which no pod may hold a GPU, and the operator's reason for each."""

_FILE = re.compile(r"^/([^/]+/[^/]+)/resolve/([^/]+)/(.+)$")
_API = re.compile(r"^/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/?]+))?")


class Hub:
    """Models in `folder`/OWNER/NAME."""

    def __init__(self, folder: Path, token: str) -> None:
        self.folder = folder
        self.token = token

    def files(self, repository: str) -> list[Path]:
        """The files of a repository; empty for one that does not exist."""
        root = self.folder / repository
        known = repository in REPOSITORIES or repository in BROKEN
        return sorted(path for path in root.rglob("*") if path.is_file()) if known else []

    def refusal(self, repository: str, revision: str, given: str) -> tuple[HTTPStatus, str] | None:
        """Status and X-Error-Code where the hub would refuse."""
        if not self.files(repository):
            return HTTPStatus.NOT_FOUND, "RepoNotFound"
        if repository.startswith("gated/") and given != f"Bearer {self.token}":
            return (HTTPStatus.FORBIDDEN if given else HTTPStatus.UNAUTHORIZED), "GatedRepo"
        if revision not in REVISIONS:
            return HTTPStatus.NOT_FOUND, "RevisionNotFound"
        return None

    def about(self, repository: str) -> dict[str, Any]:
        """The repository as /api/models/ID describes it."""
        names = [str(path.relative_to(self.folder / repository)) for path in self.files(repository)]
        return {
            "_id": "0",
            "id": repository,
            "modelId": repository,
            "sha": COMMIT,
            "private": False,
            "gated": repository.startswith("gated/") and "auto",
            "tags": [],
            "siblings": [{"rfilename": name} for name in names],
        }

    def tree(self, repository: str) -> list[dict[str, Any]]:
        """The repository's files as /api/models/ID/tree lists them."""
        return [
            {
                "type": "file",
                "path": str(path.relative_to(self.folder / repository)),
                "size": path.stat().st_size,
                "oid": hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest(),
            }
            for path in self.files(repository)
        ]


class Handler(BaseHTTPRequestHandler):
    """GET and HEAD."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with a body."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """Answer with headers alone."""
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        if self.path == "/healthz":
            self._send(HTTPStatus.OK, b"ok", {}, body=body)
        elif found := _FILE.match(self.path):
            self._file(*found.groups(), body=body)
        elif found := _API.match(self.path):
            self._api(found.group(1), found.group(2) or "revision", found.group(3) or "main", body=body)
        else:
            self._send(HTTPStatus.NOT_FOUND, b"", {}, body=body)

    def _refused(self, repository: str, revision: str, *, body: bool) -> bool:
        refusal = self.hub.refusal(repository, revision, self.headers.get("Authorization", ""))
        if refusal is not None:
            status, code = refusal
            text = json.dumps({"error": f"{repository}: {code}"}).encode()
            self._send(status, text, {"X-Error-Code": code, "X-Error-Message": f"{repository}: {code}"}, body=body)
        return refusal is not None

    def _file(self, repository: str, revision: str, name: str, *, body: bool) -> None:
        if self._refused(repository, revision, body=body):
            return
        path = next((p for p in self.hub.files(repository) if str(p) == str(self.hub.folder / repository / name)), None)
        if path is None:
            self._send(HTTPStatus.NOT_FOUND, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, body=body)
            return
        content = path.read_bytes()
        headers = {
            "X-Repo-Commit": COMMIT,
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "Content-Type": "application/octet-stream",
            "Accept-Ranges": "bytes",
        }
        self._send_range(content, headers, body=body)

    def _send_range(self, content: bytes, headers: dict[str, str], *, body: bool) -> None:
        requested = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if requested is None:
            self._send(HTTPStatus.OK, content, headers, body=body)
            return
        first, last = int(requested.group(1)), int(requested.group(2) or len(content) - 1)
        part = content[first : last + 1]
        place = f"bytes {first}-{first + len(part) - 1}/{len(content)}"
        self._send(HTTPStatus.PARTIAL_CONTENT, part, {**headers, "Content-Range": place}, body=body)

    def _api(self, repository: str, what: str, revision: str, *, body: bool) -> None:
        if self._refused(repository, revision, body=body):
            return
        answer = self.hub.tree(repository) if what == "tree" else self.hub.about(repository)
        self._send(HTTPStatus.OK, json.dumps(answer).encode(), {"Content-Type": "application/json"}, body=body)

    def _send(self, status: HTTPStatus, content: bytes, headers: dict[str, str], *, body: bool) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)


def write_broken(folder: Path) -> None:
    """The files of `BROKEN`. A container that starts again finds them there."""
    for repository, files in BROKEN.items():
        (folder / repository).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / repository / name).write_text(json.dumps(content))


def main(folder: Path, port: int) -> None:
    """Make the models, then serve until killed."""
    import tiny

    for repository, kind in REPOSITORIES.items():
        tiny.MAKERS[kind](folder / repository)
    write_broken(folder)
    Handler.hub = Hub(folder, os.environ["HUB_TOKEN"])
    ThreadingHTTPServer(("", port), Handler).serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
