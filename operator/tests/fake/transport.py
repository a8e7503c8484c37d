"""Requests of the operator's real client, answered by the fake API server through the chaos."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.fake.api import Change, FakeAPI, Refused, has, labelled
from tests.fake.chaos import Chaos
from triton_vllm_operator.api.kinds import KINDS, Kind, Object

OPERATOR = "operator"
BY_PREFIX = {(kind.prefix, kind.plural): kind for kind in KINDS.values()}


@dataclass(frozen=True, slots=True)
class Path:
    """What a URL names."""

    kind: Kind
    namespace: str | None
    name: str
    subresource: str
    query: Mapping[str, str]

    @classmethod
    def of(cls, url: str) -> Path:
        parts = urlsplit(url)
        words = [unquote(word) for word in parts.path.strip("/").split("/")]
        prefix, rest = (words[:2], words[2:]) if words[0] == "api" else (words[:3], words[3:])
        namespace = None
        if rest[0] == "namespaces" and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        plural, name, subresource, *_ = [*rest, "", ""]
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        return cls(BY_PREFIX["/" + "/".join(prefix), plural], namespace, name, subresource, query)


@dataclass
class Response:
    """As much of aiohttp's response as the client reads."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    lines: AsyncIterator[bytes] | None = None

    async def __aenter__(self) -> Response:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is held open."""

    async def read(self) -> bytes:
        return self.body

    @property
    def content(self) -> SimpleNamespace:
        return SimpleNamespace(iter_any=lambda: self.lines)


@dataclass
class Transport:
    """Stands where the client has its HTTP connections."""

    api: FakeAPI
    chaos: Chaos
    requests: int = 0
    forbidden: set[str] = field(default_factory=set)  # namespaces without a RoleBinding
    slow_s: dict[str, float] = field(default_factory=dict)  # further seconds of each request in a namespace

    async def close(self) -> None:
        """Nothing is held open."""

    async def request(self, method: str, url: str, *, body: Object | None = None, **_: Any) -> SimpleNamespace:
        self.requests += 1
        await asyncio.sleep(self.chaos.delay())
        path = Path.of(url)
        await asyncio.sleep(self.slow_s.get(path.namespace or "", 0.0))
        try:
            if self.forbidden & {path.namespace, f"{path.namespace}/{path.kind.plural}"}:
                raise Refused(403, f'{path.kind.plural} is forbidden in the namespace "{path.namespace}"')
            self.chaos.refuse()
            if "watch" in path.query:
                return SimpleNamespace(response=Response(200, lines=self._stream(path)))
            answer = self._read(path) if method == "GET" else self._write(method, path, _read_body(body))
        except Refused as refusal:
            headers = {"Retry-After": refusal.retry_after} if refusal.retry_after else {}
            text = json.dumps({"kind": "Status", "message": refusal.message}).encode()
            return SimpleNamespace(response=Response(refusal.status, text, headers))
        if method != "GET" and self.chaos.happens(self.chaos.answer_lost):
            raise ConnectionResetError("the write was made, its answer is lost")
        return SimpleNamespace(response=Response(200, json.dumps(answer).encode()))

    # ------------------------------------------------------------------ reads

    def _read(self, path: Path) -> Object:
        if path.name:
            found = self.api.get(path.kind, path.namespace or "", path.name)
            if found is None:
                raise Refused(404, f"{path.kind.plural} {path.name} not found")
            return found
        version = self.chaos.version_of_list(self.api)
        there = [obj for obj in self.api.view(path.kind, version) if path.namespace in (None, _namespace(obj))]
        items = labelled(there, path.query.get("labelSelector", ""))
        return {"items": items, "metadata": {"resourceVersion": str(version)}}

    async def _stream(self, path: Path) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        until = loop.time() + float(path.query["timeoutSeconds"])
        at = int(path.query["resourceVersion"])
        label = path.query.get("labelSelector", "")
        if self.chaos.happens(self.chaos.gone):
            yield _line("ERROR", {"kind": "Status", "code": 410, "message": "too old resource version"})
            return
        while loop.time() < until and not self.chaos.happens(self.chaos.cut):
            changes, at = self.api.since(path.kind, at), self.api.version
            for change in self.chaos.stream(changes, self.api, path.kind):
                for line in _told(change, label):
                    yield line
            if self.chaos.happens(self.chaos.bookmarked):
                yield _line("BOOKMARK", {"metadata": {"resourceVersion": str(at)}})
            if self.api.version == at:
                await self._wait(until - loop.time())

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(seconds, 0.0)):
                await self.api.news()
                await asyncio.sleep(self.chaos.delay())
        except TimeoutError:
            return

    # ----------------------------------------------------------------- writes

    def _write(self, method: str, path: Path, body: Any) -> Object:
        if method == "DELETE":
            uid = body.get("preconditions", {}).get("uid")
            self.api.delete((path.kind, path.namespace or "", path.name), OPERATOR, uid)
            return {}
        if method == "POST":
            return self.api.create(body, OPERATOR)
        if "fieldManager" in path.query:
            return self.api.apply(body, OPERATOR, path.subresource)
        place = (path.kind, path.namespace or "", path.name)
        if method == "PATCH":
            return self.api.merge(place, body, OPERATOR)
        self.api.change(place, OPERATOR, lambda obj: obj.update(body))
        return {}


def _namespace(obj: Object) -> str:
    return str(obj["metadata"].get("namespace", ""))


def _told(change: Change, label: str) -> list[bytes]:
    """The line of a watch with this label selector; none when the object never had the label."""
    before, after = has(change.old, label), has(change.new, label)
    if after and change.new is not None:
        return [_line("MODIFIED" if before else "ADDED", change.new)]
    if before and change.old is not None:
        meta = change.old["metadata"] | {"resourceVersion": str(change.version)}
        return [_line("DELETED", change.old | {"metadata": meta})]
    return []


def _line(kind: str, obj: Object) -> bytes:
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


def _read_body(body: Any) -> Any:
    """The object in a request's body: bytes as they are sent, anything else as the client library writes it."""
    return json.loads(body if isinstance(body, bytes) else json.dumps(body))
