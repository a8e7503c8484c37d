"""The load generator: a process of its own that reads jobs, one line of JSON each, and answers with what it counted.

Only bytes are looked at, and only as far as needed: on a small machine the generator must not become what is measured.
"""

from __future__ import annotations

import asyncio
import json
import math
import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import Any

PIECE = b"data: "
END = b"\r\n0\r\n\r\n"
LIMIT_SECONDS = 300.0


@dataclass(slots=True)
class Counted:
    """What the clients of one job saw, in seconds."""

    first: list[float] = field(default_factory=list)
    # Of each request, from its first piece to its last, by its tokens; and between any two pieces.
    each: list[float] = field(default_factory=list)
    between: list[float] = field(default_factory=list)
    pieces: int = 0
    failures: list[str] = field(default_factory=list)


class Client(asyncio.Protocol):
    """One connection that is kept: one request after another."""

    def __init__(self, request: bytes, tokens: int, stream: bool, counted: Counted) -> None:
        self._request, self._tokens, self._stream, self._counted = request, tokens, stream, counted
        self._transport: asyncio.Transport | None = None
        self.done: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way to write."""
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment] # uvloop's is not a subclass

    def connection_lost(self, exc: Exception | None) -> None:
        """A request that waits for its answer waits no longer."""
        if self.done is not None and not self.done.done():
            self._counted.failures.append(f"connection lost: {exc}")
            self.done.set_result(None)

    def ask(self) -> asyncio.Future[None]:
        """Send the request; done when its answer is whole."""
        assert self._transport is not None
        self._head: bytes | None = b""
        self._left, self._tail, self._first, self._last = -1, b"", 0.0, 0.0
        self.done = asyncio.get_running_loop().create_future()
        self._sent = time.perf_counter()
        self._transport.write(self._request)
        return self.done

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        if self._head is not None:
            self._head += data
            head, found, data = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            self._head = None
            self._begin(head, data)
            if not data:
                return
        self._count(data)
        if self._left >= 0:
            self._left -= len(data)
            if self._left <= 0:
                self._end()
        else:
            self._tail = (self._tail + data)[-len(END) :]
            if self._tail.endswith(END):
                self._end()

    def _begin(self, head: bytes, data: bytes) -> None:
        if b" 200 " not in head[:20]:
            self._counted.failures.append((head[:40] + b" ... " + data[:200]).decode(errors="replace"))
        lowered = head.lower()
        at = lowered.find(b"content-length:")
        if at >= 0:
            self._left = int(lowered[at + 15 :].split(b"\r\n", 1)[0])
        self._tail = b"\r\n"

    def _count(self, data: bytes) -> None:
        if not self._stream:
            return
        found = data.count(PIECE)
        if found:
            self._counted.pieces += found
            # The end of a stream of OpenAI's protocol is not a token.
            if not (found == 1 and b"[DONE]" in data):
                now = time.perf_counter()
                if self._first:
                    self._counted.between.append(now - self._last)
                # Those that have come together with another one.
                self._counted.between += [0.0] * (found - 1)
                self._first, self._last = self._first or now, now
            if b'"error"' in data:
                self._counted.failures.append(data[:200].decode(errors="replace"))

    def _end(self) -> None:
        if self._stream:
            self._counted.first.append(self._first - self._sent)
            self._counted.each.append((self._last - self._first) / max(1, self._tokens - 1))
        else:
            self._counted.first.append(time.perf_counter() - self._sent)
        assert self.done is not None
        if not self.done.done():
            self.done.set_result(None)


async def run(job: dict[str, Any]) -> dict[str, Any]:
    """All requests of a job, from as many clients as it says; each client begins the next when one is answered."""
    body = json.dumps(job["body"]).encode()
    head = f"POST {job['path']} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    request = head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body
    counted = Counted()
    loop = asyncio.get_running_loop()
    clients = []
    for _ in range(job["clients"]):
        made = Client(request, job["tokens"], job["stream"], counted)
        await loop.create_connection(lambda made=made: made, "127.0.0.1", job["port"])  # type: ignore[misc]
        clients.append(made)
    left = iter(range(job["requests"]))

    async def client(one: Client) -> None:
        for _ in left:
            await one.ask()
            if counted.failures:
                return

    cpu, began = time.process_time(), time.perf_counter()
    await asyncio.wait_for(asyncio.gather(*map(client, clients)), LIMIT_SECONDS)
    seconds = time.perf_counter() - began
    for one in clients:
        assert one._transport is not None
        one._transport.close()
    return {
        "seconds": seconds,
        "tokensPerSecond": job["requests"] * job["tokens"] / seconds,
        "firstSeconds": statistics.median(counted.first or [0.0]),
        "firstTailSeconds": tail(counted.first),
        "eachSeconds": statistics.median(counted.each or [0.0]),
        "betweenTailSeconds": tail(counted.between),
        "pieces": counted.pieces / job["requests"],
        "loadShare": (time.process_time() - cpu) / seconds,
        "failures": counted.failures[:3],
    }


def tail(values: list[float], share: float = 0.99) -> float:
    """The value that so large a share of all does not exceed; 0 of none."""
    return sorted(values)[math.ceil(share * len(values)) - 1] if values else 0.0


def main() -> int:
    """Answer jobs until standard input ends."""
    import uvloop

    for line in sys.stdin:
        sys.stdout.write(json.dumps(uvloop.run(run(json.loads(line)))) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
