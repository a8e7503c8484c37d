"""The HTTP port of our own: readiness that means tokens, what the engine got, and OpenAI's protocol when it is on."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from contract import paths, ports
from contract.report import TASK, VERSION

logger = logging.getLogger("triton_vllm")

PORT_VARIABLE = "TRITON_VLLM_HTTP_PORT"
ADDRESS_VARIABLE = "TRITON_VLLM_HTTP_ADDRESS"
BACKLOG = 2048

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Status, content type and body.
Answer = tuple[int, str, bytes]
Receive = Callable[[], Any]
Send = Callable[[Mapping[str, Any]], Any]


@dataclass(frozen=True, slots=True)
class Sources:
    """What answers the paths of our own.

    Attributes:
        problem: why the engine is not ready, "" when it is.
        report: what the engine runs with and got, and the phases of its start.
        metrics: vLLM's, in Prometheus' format.
        prove: has the engine do one request; returns its task. Raises what the engine raises.
    """

    problem: Callable[[], str]
    report: Callable[[], Mapping[str, Any]]
    metrics: Callable[[], bytes]
    prove: Callable[[], Awaitable[str]]


class HTTPApplication:
    """Answers `/health` and `/health/ready` (200, or 503 with the reason), `/health/live` (200 while the loop turns),
    `/health/proof`, `/report`, `/version` and `/metrics`.

    `application` answers the paths of OpenAI's protocol, None: they are off.

    Attributes:
        closing: the server stops: each answer closes its connection, so that the next request uses another one.
    """

    closing = False

    def __init__(self, sources: Sources, application: Any | None = None) -> None:
        self._sources = sources
        self._application = application
        self._proving: asyncio.Task[str] | None = None
        self._answers: Mapping[str, Callable[[], Awaitable[Answer]]] = {
            paths.HEALTH: self._ready,
            paths.READY: self._ready,
            paths.LIVE: self._live,
            paths.PROOF: self._proof,
            paths.REPORT: self._report,
            paths.VERSION: self._version,
            paths.METRICS: self._metrics,
        }

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] != "http":
            return
        if self.closing:
            send = closing(send)
        path = str(scope["path"])
        if self._application is not None and path not in self._answers:
            await self._application(scope, receive, send)
            return
        status, kind, body = await self._answers.get(path, self._not_found)()
        headers = [(b"content-type", kind.encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _ready(self) -> Answer:
        problem = self._sources.problem()
        return _json(503, {"ready": False, "reason": problem}) if problem else _json(200, {"ready": True})

    async def _live(self) -> Answer:
        return _json(200, {"live": True})

    async def _report(self) -> Answer:
        return _json(200, self._sources.report())

    async def _version(self) -> Answer:
        return _json(200, {"version": self._sources.report()[VERSION]})

    async def _metrics(self) -> Answer:
        return 200, METRICS_TYPE, await asyncio.to_thread(self._sources.metrics)

    async def _proof(self) -> Answer:
        """One request for all who wait: the proof needs no key and must not be work that anybody can multiply."""
        if problem := self._sources.problem():
            return _json(503, {"proven": False, "reason": problem})
        if self._proving is None or self._proving.done():
            self._proving = asyncio.ensure_future(self._sources.prove())
        try:
            return _json(200, {"proven": True, TASK: await asyncio.shield(self._proving)})
        except Exception as error:  # noqa: BLE001 - whatever it is, the engine does not serve
            return _json(503, {"proven": False, "reason": f"{type(error).__name__}: {error}"})

    async def _not_found(self) -> Answer:
        return _json(404, {"error": f"path not found; paths are {', '.join(self._answers)}. OpenAI's protocol is off"})


def closing(send: Send) -> Send:
    """Return `send` that closes the connection after the answer."""

    async def sent(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        await send(message)

    return sent


def _json(status: int, body: Mapping[str, Any]) -> Answer:
    return status, "application/json", json.dumps(body).encode()


async def serve(application: Any) -> tuple[Any, asyncio.Task[None]]:
    """Listen; returns uvicorn's server and its task once the port is open. Raises OSError when it is taken."""
    import uvicorn

    port = int(os.environ.get(PORT_VARIABLE) or ports.HEALTH)
    listening = listening_socket(os.environ.get(ADDRESS_VARIABLE) or "", port)
    server = uvicorn.Server(uvicorn.Config(application, lifespan="off", access_log=False, log_config=None, loop="none"))
    # In a thread that is not the main one uvicorn leaves signals alone: they are tritonserver's.
    task = asyncio.ensure_future(server.serve([listening]))
    return server, task


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket on this address; "" is all, IPv4 and IPv6. Raises OSError when the port is taken."""
    if not host and socket.has_dualstack_ipv6():
        return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)
