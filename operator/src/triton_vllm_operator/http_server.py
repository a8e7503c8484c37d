"""An HTTP server of this process: used for probes and metrics, and for the webhook."""

from __future__ import annotations

import socket
import ssl

from aiohttp import web

ALL_ADDRESSES = ""
"""The host that listens on all addresses of this pod, IPv4 and IPv6."""


async def listen(
    app: web.Application, host: str, port: int, *, tls: ssl.SSLContext | None = None, stop_s: float = 60.0
) -> tuple[web.AppRunner, int]:
    """Start listening; returns the runner to clean up and the port, which differs where `port` is 0.

    Args:
        host: an address or a name; `ALL_ADDRESSES` for all.
        stop_s: how long the cleanup waits for requests in progress.

    Raises:
        OSError: the address or the port cannot be used.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=stop_s)
    await runner.setup()
    if host == ALL_ADDRESSES:
        await web.SockSite(runner, _all_addresses(port), ssl_context=tls).start()
    else:
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
    return runner, runner.addresses[0][1]


def _all_addresses(port: int) -> socket.socket:
    """A socket that accepts IPv4 and IPv6, or IPv4 only where the kernel has no IPv6."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))
