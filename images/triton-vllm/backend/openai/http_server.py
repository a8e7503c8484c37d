"""The HTTP port of our own: readiness that means tokens, what the engine got, and OpenAI's protocol when it is on."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

from backend.openai.application import PATHS
from contract import paths, ports

logger = logging.getLogger("triton_vllm")

PORT_VARIABLE = "TRITON_VLLM_HTTP_PORT"
ADDRESS_VARIABLE = "TRITON_VLLM_HTTP_ADDRESS"
BACKLOG = 2048

Receive = Callable[[], Any]
Send = Callable[[Mapping[str, Any]], Any]


class HTTPApplication:
    """Answers `/health/ready` (200, or 503 with the reason), `/health/live` (200 while the loop turns) and
    `/report` with what `report` returns: what the engine runs with, what it got, and the phases of its start.

    `application` answers the paths of OpenAI's protocol, None: they are off.
    """

    def __init__(
        self, problem: Callable[[], str], report: Callable[[], Mapping[str, Any]], application: Any | None = None
    ) -> None:
        self._problem = problem
        self._report = report
        self._application = application

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] != "http":
            return
        path = str(scope["path"])
        if self._application is not None and path in PATHS:
            await self._application(scope, receive, send)
            return
        status, body = self._answer(path)
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(body).encode()})

    def _answer(self, path: str) -> tuple[int, dict[str, Any]]:
        if path == paths.LIVE:
            return 200, {"live": True}
        if path == paths.REPORT:
            return 200, dict(self._report())
        if path != paths.READY:
            known = [paths.READY, paths.LIVE, paths.REPORT, *(sorted(PATHS) if self._application is not None else ())]
            return 404, {"error": f"path not found; paths are {', '.join(known)}"}
        problem = self._problem()
        return (503, {"ready": False, "reason": problem}) if problem else (200, {"ready": True})


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
