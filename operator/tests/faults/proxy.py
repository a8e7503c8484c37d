"""An HTTP proxy between an operator and an API server that fails on command and counts the writes.

It runs in a thread of its own, so that a test can stay synchronous. The operator speaks plain HTTP to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp
from aiohttp import web

from tests.apiserver.controlplane import ControlPlane, free_ports

T = TypeVar("T")
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong. `name` is shown; exactly one of the others says how.

    `status`: every request is answered with it. `write_status`: every write is. `watch_gone`: every watch gets
    410. `refused`: connections are refused. `frozen`: connections that are open now stay open without data; new ones
    work. `silent`: no request is answered at all.
    """

    name: str
    status: int = 0
    retry_after: str = ""
    write_status: int = 0
    watch_gone: bool = False
    refused: bool = False
    frozen: bool = False
    silent: bool = False

    @property
    def stops_writes(self) -> bool:
        """Whether no write of the operator reaches the API server while it lasts."""
        return bool(self.status or self.write_status or self.refused or self.silent)


FAULTS = (
    Fault("429 with Retry-After", status=429, retry_after="3"),
    Fault("429 without", status=429),
    Fault("503", status=503),
    Fault("500", status=500),
    Fault("403", status=403),
    Fault("401", status=401),
    Fault("connection refused", refused=True),
    Fault("half-open, new connections work", frozen=True),
    Fault("half-open, all silent", silent=True),
    Fault("410 on watch", watch_gone=True),
    Fault("409 on write", write_status=409),
)


@dataclass(frozen=True, slots=True)
class Write:
    """A write that the API server has answered."""

    method: str
    path: str
    status: int


@dataclass
class Proxy:
    """`url` is where the operator connects. `on_write` is called after each write, before the operator learns.

    `name` is added to the user agent, which distinguishes operators in the audit log.
    """

    plane: ControlPlane
    name: str = ""
    port: int = 0
    writes: list[Write] = field(default_factory=list)
    on_write: Callable[[int], object] | None = None
    _fault: Fault | None = None
    _frozen: set[asyncio.Task[Any]] = field(default_factory=set)
    _requests: set[asyncio.Task[Any]] = field(default_factory=set)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        (self.port,) = free_ports(1)
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._do(self._open())

    def stop(self) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def fail(self, fault: Fault | None) -> None:
        """Begin a fault, or end it with None. Streams that are open are cut, unless the fault freezes them."""
        self._do(self._switch(fault))

    # ------------------------------------------------------------- in the thread

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _open(self) -> None:
        context = ssl.create_default_context(cafile=str(self.plane.ca))
        connector = aiohttp.TCPConnector(ssl=context, limit=0)
        self._upstream = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        await self._listen()

    async def _listen(self) -> None:
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()

    async def _unlisten(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _close(self) -> None:
        self._fault = None
        await self._cut(self._requests | self._frozen)
        await self._unlisten()
        await self._upstream.close()

    async def _switch(self, fault: Fault | None) -> None:
        self._fault = fault
        if fault is not None and (fault.frozen or fault.silent):
            self._frozen |= self._requests
        else:
            await self._cut(self._requests | self._frozen)
            self._frozen.clear()
        if fault is not None and fault.refused:
            await self._unlisten()
        elif self._runner is None:
            await self._listen()

    async def _cut(self, tasks: set[asyncio.Task[Any]]) -> None:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        task = asyncio.current_task()
        assert task is not None
        self._requests.add(task)
        try:
            fault = self._fault
            if fault is not None and fault.silent:
                await asyncio.Event().wait()
            return _refusal(fault, request) or await self._pass_on(request, task)
        except aiohttp.ClientError as error:
            return web.Response(status=502, text=str(error))
        finally:
            self._requests.discard(task)
            self._frozen.discard(task)

    async def _pass_on(self, request: web.Request, task: asyncio.Task[Any]) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        headers["User-Agent"] = f"{headers.get('User-Agent', '')} {self.name}".strip()
        timeout = aiohttp.ClientTimeout(total=None)
        async with self._upstream.request(
            request.method,
            self.plane.url + request.raw_path,
            headers=headers,
            data=await request.read() or None,
            skip_auto_headers=("Content-Type",),  # an invented one makes the API server answer 415
            timeout=timeout,
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
            if "watch" not in request.query:
                body = await answer.read()
                await self._count(request, answer.status)
                await self._unless_frozen(task)
                return web.Response(status=answer.status, headers=kept, body=body)
            return await self._stream(request, answer, kept, task)

    async def _stream(
        self, request: web.Request, answer: aiohttp.ClientResponse, headers: dict[str, str], task: asyncio.Task[Any]
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers=headers)
        await response.prepare(request)
        async for chunk in answer.content.iter_any():
            await self._unless_frozen(task)
            await response.write(chunk)
        await self._unless_frozen(task)
        return response

    async def _unless_frozen(self, task: asyncio.Task[Any]) -> None:
        if task in self._frozen:
            await asyncio.Event().wait()

    async def _count(self, request: web.Request, status: int) -> None:
        """Count every write but those of the Lease, which come and go with time and not with what is done."""
        if request.method == "GET" or "/leases" in request.path:
            return
        self.writes.append(Write(request.method, request.path, status))
        if self.on_write is not None:
            await asyncio.to_thread(self.on_write, len(self.writes))


def _refusal(fault: Fault | None, request: web.Request) -> web.Response | None:
    """The answer that a fault gives instead of the API server's, or None."""
    if fault is None:
        return None
    if fault.watch_gone and "watch" in request.query:
        return web.Response(text=json.dumps({"type": "ERROR", "object": _status(410)}) + "\n")
    code = fault.status or (fault.write_status if request.method != "GET" else 0)
    if not code:
        return None
    headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
    return web.json_response(_status(code), status=code, headers=headers)


def _status(code: int) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": f"injected {code}"}


@contextlib.contextmanager
def proxy(plane: ControlPlane, name: str = "") -> Iterator[Proxy]:
    """A running proxy in front of an API server."""
    made = Proxy(plane, name)
    made.start()
    try:
        yield made
    finally:
        made.stop()
