"""A thin asynchronous client: plain dicts in and out, a timeout on every call, one field manager.

It stands on `kubernetes.aio` for login, TLS and token refresh, and sends the requests itself: the generated,
typed API classes cost about ten times the processor time of a plain JSON body and keep unused memory.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject

from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.kinds import Kind, Object, Ref
from triton_vllm_operator.api.names import FIELD_MANAGER
from triton_vllm_operator.kube.errors import KubeError, NotFound, Retry, from_status

PAGE = 100  # objects in one page of a list: 0.5 MB of pods, ten times that once parsed
NOBODYS_VERSION = "1"  # etcd counts from 1, and its first write is 2
CONNECT_S = 5.0
_APPLY = "application/apply-patch+yaml; charset=utf-8"
READ_S = 20.0  # a list of a page may take seconds on a busy server
# A write must have ended (sent or abandoned) before another operator can take the lease: see controller/leader.py.
WRITE_S = 6.0
# Writes that carry a resourceVersion of their own. The fence relies on the lease, and every replica, leader or not,
# registers the certificate of its webhook.
UNFENCED = frozenset({kinds.LEASE.kind, kinds.WEBHOOKS.kind})

Fence = Callable[[], None]
Observe = Callable[[str, str, str, float], None]

_fence: ContextVar[Fence | None] = ContextVar("fence", default=None)


def no_fence() -> None:
    """For a process that is the only writer, such as a test or a command-line tool."""


def no_observer(verb: str, kind: str, code: str, seconds: float) -> None:
    """For a process without metrics."""


class Page(NamedTuple):
    items: list[Object]
    version: str  # resourceVersion of the whole list, the same for all of its pages


class FencedRequest(aiohttp.ClientRequest):
    """Checks the fence once more when there is a connection, directly before the bytes are sent.

    Without it a process that was stopped (SIGSTOP) while waiting for a connection would write under a lost lease.
    """

    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        fence = _fence.get()
        if fence is not None:
            fence()
        return await super().send(conn)


class Client:
    """Calls to one API server.

    `fence` is called before every write and raises `NotLeader` to stop it. `observe` gets (verb, kind, HTTP code or
    error name, seconds) of every call, for the metrics. `rest` sends the requests: the tests' own, else real HTTP.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        fence: Fence = no_fence,
        observe: Observe = no_observer,
        connections: int = 64,
        rest: Any = None,
    ) -> None:
        configuration.connection_pool_maxsize = connections
        # trust_env: `login` has found the proxy.
        session = {"request_class": FencedRequest, "auto_decompress": True, "trust_env": False}
        configuration.client_session_kwargs = session
        self._configuration = configuration
        self._rest: Any = rest or RESTClientObject(configuration)  # its request() is not typed
        self._fence = fence
        self._observe = observe

    def fence_with(self, fence: Fence) -> None:
        """Set the fence; needed where the lease that it checks is itself held through this client."""
        self._fence = fence

    async def close(self) -> None:
        await self._rest.close()

    # ------------------------------------------------------------------ reads

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object:
        """One object. Raises `NotFound`."""
        return await self._json("get", kind, kind.path(namespace, name))

    async def find(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        """One object, or None where it does not exist."""
        try:
            return await self.get(kind, namespace, name)
        except NotFound:
            return None

    async def pages(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
    ) -> AsyncIterator[Page]:
        """The collection in pages of `PAGE` objects, each with the list's resourceVersion.

        `metadata_only` requests PartialObjectMetadata. Raises `Expired` when the pages took too long to read.
        """
        query = _query(labelSelector=label_selector, fieldSelector=field_selector, limit=str(PAGE))
        accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1" if metadata_only else None
        while True:
            body = await self._json("list", kind, kind.path(namespace), query=query, accept=accept)
            items = body["items"] or []  # an empty list of metadata is null
            for item in items:
                item.setdefault("apiVersion", kind.api_version)
                item.setdefault("kind", kind.kind)
            meta = body["metadata"]
            yield Page(items, meta["resourceVersion"])
            if not meta.get("continue"):
                return
            query["continue"] = meta["continue"]

    async def list_all(
        self, kind: Kind, namespace: str | None = None, *, label_selector: str = "", field_selector: str = ""
    ) -> list[Object]:
        """The whole collection. For large ones read `pages`."""
        found: list[Object] = []
        async for page in self.pages(kind, namespace, label_selector=label_selector, field_selector=field_selector):
            found += page.items
        return found

    async def events_of(self, namespace: str, uid: str) -> list[Object]:
        """Events (core/v1) about one object, selected on the server by its uid.

        For objects that make no progress only: a pod's FailedMount is reported nowhere else.
        """
        return await self.list_all(kinds.CORE_EVENT, namespace, field_selector=f"involvedObject.uid={uid}")

    async def watch(
        self, kind: Kind, namespace: str | None, *, label_selector: str, since: str, server_s: int
    ) -> AsyncIterator[bytes]:
        """Lines of one watch request, which the server ends after `server_s` seconds.

        The first line is empty: the stream is open. The request times out 5 s after `server_s`, which bounds the time
        that a half-open connection goes unnoticed.
        """
        query = _query(
            labelSelector=label_selector,
            resourceVersion=since,
            watch="true",
            allowWatchBookmarks="true",
            timeoutSeconds=str(server_s),
        )
        url = self._url(kind.path(namespace), query)
        timeout = aiohttp.ClientTimeout(total=server_s + 5, sock_connect=CONNECT_S)
        with _Translated(f"watch {kind.plural}"):
            response = (
                await self._rest.request("GET", url, headers=await self._headers(), _request_timeout=timeout)
            ).response
            async with response:
                if response.status >= 400:
                    raise _failure(response, await response.read(), f"watch {kind.plural}")
                yield b""
                async for line in _lines(response.content):
                    yield line

    # ----------------------------------------------------------------- writes

    async def apply(self, obj: Object, *, uid: str | None) -> Object:
        """Server-side apply over the object with this uid. Raises `Conflict` where it has another uid or is deleted.

        None: the object is new, and `Conflict` means that one of its name exists. For this the precondition is a
        resourceVersion that no object has: the API server compares it with that of a live object only.
        """
        precondition = {"resourceVersion": NOBODYS_VERSION} if uid is None else {"uid": uid}
        return await self._apply({**obj, "metadata": {**obj["metadata"], **precondition}}, None)

    async def apply_status(self, obj: Object) -> Object:
        """Server-side apply of the status subresource: fields that are no longer sent disappear.

        `obj` holds apiVersion, kind, metadata and status. Its metadata.resourceVersion, when given, is a precondition:
        a status that was computed from an older version of the object raises `Conflict`.
        """
        return await self._apply(obj, "status")

    async def create(self, obj: Object) -> Object:
        kind = kinds.kind_of(obj)
        path = kind.path(obj["metadata"].get("namespace"))
        return await self._json("create", kind, path, "POST", body=obj, query={"fieldManager": FIELD_MANAGER})

    async def update(self, obj: Object) -> Object:
        """Replace. metadata.resourceVersion is the precondition: `Conflict` where the object was written meanwhile."""
        return await self._json("update", kinds.kind_of(obj), kinds.ref_of(obj).path, "PUT", body=obj)

    async def merge(self, ref: Ref, patch: Object) -> Object:
        """JSON merge patch of one object."""
        return await self._json(
            "patch", ref.kind, ref.path, "PATCH", body=patch, content_type="application/merge-patch+json"
        )

    async def delete(self, ref: Ref, *, propagation: str = "Background") -> None:
        """Delete that very object (`ref.uid`, when given, is a precondition). Success where it does not exist."""
        body: Object = {"propagationPolicy": propagation}
        if ref.uid is not None:
            body["preconditions"] = {"uid": ref.uid}
        try:
            await self._json("delete", ref.kind, ref.path, "DELETE", body=body)
        except NotFound:
            return

    # -------------------------------------------------------------- machinery

    async def _apply(self, obj: Object, subresource: str | None) -> Object:
        kind = kinds.kind_of(obj)
        meta = obj["metadata"]
        path = kind.path(meta.get("namespace"), meta["name"], subresource)
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        verb = "apply" if subresource is None else f"apply-{subresource}"
        # The API server reads it as YAML, which does not know how JSON escapes characters such as emoji.
        text = json.dumps(obj, ensure_ascii=False).encode()
        return await self._json(verb, kind, path, "PATCH", body=text, query=query, content_type=_APPLY)

    async def _json(
        self,
        verb: str,
        kind: Kind,
        path: str,
        method: str = "GET",
        *,
        body: Object | bytes | None = None,
        query: Mapping[str, str] | None = None,
        accept: str | None = None,
        content_type: str = "application/json",
    ) -> Object:
        headers = {"Content-Type": content_type}
        if accept is not None:
            headers["Accept"] = accept
        limit_s = READ_S if method == "GET" else WRITE_S
        raw = await self._call(verb, kind.kind, method, path, body=body, query=query, headers=headers, limit_s=limit_s)
        answer: Object = json.loads(raw)
        return answer

    async def _call(
        self,
        verb: str,
        what: str,
        method: str,
        path: str,
        *,
        limit_s: float,
        body: Object | bytes | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Send one request and read all of its answer. Writes pass the fence first."""
        started = time.monotonic()
        code = "error"
        try:
            with self._fenced(method, what), _Translated(f"{verb} {what}"):
                response = (
                    await self._rest.request(
                        method,
                        self._url(path, query),
                        headers=await self._headers(headers),
                        body=body,
                        _request_timeout=aiohttp.ClientTimeout(total=limit_s, sock_connect=CONNECT_S),
                    )
                ).response
                async with response:
                    code = str(response.status)
                    raw: bytes = await response.read()
                    if response.status >= 400:
                        raise _failure(response, raw, f"{verb} {what}")
                    return raw
        finally:
            self._observe(verb, what, code, time.monotonic() - started)

    def _fenced(self, method: str, what: str) -> _Fenced:
        return _Fenced(None if method == "GET" or what in UNFENCED else self._fence)

    def _url(self, path: str, query: Mapping[str, str] | None) -> str:
        return f"{self._configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")

    async def _headers(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": FIELD_MANAGER, **(extra or {})}
        settings: Mapping[str, Any] = await self._configuration.auth_settings()
        for auth in settings.values():
            headers[auth["key"]] = auth["value"]
        return headers


class _Fenced:
    """Checks the fence now and again when the request is sent."""

    def __init__(self, fence: Fence | None) -> None:
        self._fence = fence

    def __enter__(self) -> None:
        if self._fence is not None:
            self._fence()
        self._token = _fence.set(self._fence)

    def __exit__(self, *_: object) -> None:
        _fence.reset(self._token)


class _Translated:
    """Raises transport errors as `Retry`."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, TimeoutError):
            raise Retry(f"{self._what}: the request to the API server timed out") from error
        if isinstance(error, (aiohttp.ClientError, OSError)):
            raise Retry(f"{self._what}: {type(error).__name__}: {error}") from error


def _query(**fields: str) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value}


def _failure(response: aiohttp.ClientResponse, raw: bytes, what: str) -> KubeError:
    """The error for an answer above 399; the server's `Status` message when there is one."""
    try:
        status = json.loads(raw)
        message = status.get("message") or status.get("reason") or ""
    except (ValueError, AttributeError):
        message = raw[:200].decode("utf-8", errors="replace")
    return from_status(response.status, f"{what}: {message or response.reason}", _retry_after(response))


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    """Seconds of the Retry-After header; the HTTP-date form, which Kubernetes does not use, counts as absent."""
    try:
        return max(0.0, float(response.headers["Retry-After"]))
    except (KeyError, ValueError):
        return None


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Whole lines of any length (aiohttp's own line reader rejects lines above its buffer limit)."""
    rest = b""
    async for chunk in content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line:
                yield line
