"""The HTTP endpoints for the kubelet and Prometheus: /healthz, /readyz, /metrics."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

Problems = Callable[[], list[str]]


def application(alive: Problems, ready: Problems, metrics: Callable[[], bytes]) -> web.Application:
    """`alive` and `ready` return problems as sentences: HTTP 200 where there are none, else 503 with the list."""

    async def healthz(_: web.Request) -> web.Response:
        return _response(alive())

    async def readyz(_: web.Request) -> web.Response:
        return _response(ready())

    async def scrape(_: web.Request) -> web.Response:
        return web.Response(body=metrics(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", scrape)
    return app


def _response(problems: list[str]) -> web.Response:
    return web.Response(text="\n".join(problems or ["ok"]) + "\n", status=503 if problems else 200)
