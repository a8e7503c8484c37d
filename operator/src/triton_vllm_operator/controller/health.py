"""The HTTP port for the kubelet and Prometheus: /healthz, /readyz, /metrics."""

from __future__ import annotations

import ssl
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

Problems = Callable[[], list[str]]


def application(alive: Problems, ready: Problems, metrics: Callable[[], bytes]) -> web.Application:
    """`alive` and `ready` return what is wrong, in sentences; nothing wrong is HTTP 200, else 503 with the list."""

    async def healthz(_: web.Request) -> web.Response:
        return _answer(alive())

    async def readyz(_: web.Request) -> web.Response:
        return _answer(ready())

    async def scrape(_: web.Request) -> web.Response:
        return web.Response(body=metrics(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", scrape)
    return app


def _answer(problems: list[str]) -> web.Response:
    return web.Response(text="\n".join(problems or ["ok"]) + "\n", status=503 if problems else 200)


async def serve(
    app: web.Application, host: str, port: int, *, tls: ssl.SSLContext | None = None, stop_s: float = 60.0
) -> tuple[web.AppRunner, int]:
    """Start listening; returns the runner to clean up and the real port.

    Args:
        stop_s: how long the cleanup waits for requests under way.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=stop_s)
    await runner.setup()
    await web.TCPSite(runner, host, port, ssl_context=tls).start()
    return runner, runner.addresses[0][1]
