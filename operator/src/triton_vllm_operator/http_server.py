"""An HTTP server of this process: used for probes and metrics, and for the webhook."""

from __future__ import annotations

import ssl

from aiohttp import web


async def listen(
    app: web.Application, host: str, port: int, *, tls: ssl.SSLContext | None = None, stop_s: float = 60.0
) -> tuple[web.AppRunner, int]:
    """Start listening; returns the runner to clean up and the port, which differs where `port` is 0.

    Args:
        stop_s: how long the cleanup waits for requests in progress.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=stop_s)
    await runner.setup()
    await web.TCPSite(runner, host, port, ssl_context=tls).start()
    return runner, runner.addresses[0][1]
