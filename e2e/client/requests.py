"""Sends HTTP requests from a pod of the serving image: a JSON plan on standard input, JSON answers on standard output.

The plan: {"concurrency": N, "every": S, "requests": [{"url": ..., "json": {...}}, ...]}. Each request starts at least S
seconds after the one before it; one without "json" is a GET. The answers: {"seconds": of the whole, "answers":
[{"status": 200, "body": text, "arrivals": [seconds of each chunk]}]}; status 0 with the error as body where no HTTP
answer came.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any
from urllib.parse import urlsplit

import aiohttp

TIMEOUT_SECONDS = 120
NAME_SECONDS = 30


async def send(
    session: aiohttp.ClientSession, turn: asyncio.Semaphore, request: dict[str, Any], after: float
) -> dict[str, Any]:
    """One request, `after` so many seconds and when its turn comes."""
    await asyncio.sleep(after)
    async with turn:
        begun = time.monotonic()
        chunks: list[bytes] = []
        arrivals: list[float] = []
        method = "POST" if "json" in request else "GET"
        try:
            async with session.request(method, request["url"], json=request.get("json")) as response:
                async for chunk in response.content.iter_any():
                    chunks.append(chunk)
                    arrivals.append(round(time.monotonic() - begun, 4))
                return {"status": response.status, "body": b"".join(chunks).decode(), "arrivals": arrivals}
        except (aiohttp.ClientError, TimeoutError) as error:
            return {"status": 0, "body": f"{type(error).__name__}: {error}", "arrivals": arrivals}


async def known(url: str) -> None:
    """Wait until the cluster's DNS knows the host of an address: it learns of a new Service a moment late."""
    found = urlsplit(url)
    until = time.monotonic() + NAME_SECONDS
    while time.monotonic() < until:
        try:
            await asyncio.get_running_loop().getaddrinfo(found.hostname, found.port)
            return
        except OSError:
            await asyncio.sleep(0.5)


async def send_all(plan: dict[str, Any]) -> dict[str, Any]:
    """All requests, at most `concurrency` at a time."""
    for url in {request["url"] for request in plan["requests"]}:
        await known(url)
    turn = asyncio.Semaphore(plan["concurrency"])
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        begun = time.monotonic()
        sent = (send(session, turn, one, number * plan["every"]) for number, one in enumerate(plan["requests"]))
        answers = await asyncio.gather(*sent)
        return {"seconds": time.monotonic() - begun, "answers": answers}


if __name__ == "__main__":
    json.dump(asyncio.run(send_all(json.load(sys.stdin))), sys.stdout)
