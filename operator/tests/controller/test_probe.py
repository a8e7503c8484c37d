"""Pods are asked over real connections: whatever one answers, or does not, costs little time and memory."""

from __future__ import annotations

import asyncio
import gzip
import re
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from contract import ports
from triton_vllm_operator.controller import probe
from triton_vllm_operator.controller.probe import NoReport, PodProbe

HEADS: list[bytes] = []
"""Heads of the requests that are being answered."""
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
ENDLESS = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"


def answer(body: bytes, status: str = "200 OK", *headers: str) -> Serve:
    """A server that sends one answer and ends the connection."""
    lines = "".join(
        f"{line}\r\n" for line in (f"HTTP/1.1 {status}", f"content-length: {len(body)}", "connection: close", *headers)
    )

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(lines.encode() + b"\r\n" + body)

    return serve


async def silence(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    """A connection that is open and says nothing."""
    await asyncio.sleep(60)


async def without_end(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A body that goes on as long as it is read."""
    writer.write(ENDLESS)
    while True:
        writer.write(b" " * 65536)
        await writer.drain()


async def by_drops(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A byte now and then, so that no single wait is long."""
    writer.write(ENDLESS)
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


@asynccontextmanager
async def asking(serve: Serve, monkeypatch: pytest.MonkeyPatch, address: str = "127.0.0.1") -> AsyncIterator[PodProbe]:
    """A probe whose pod is this server, on both ports."""
    requests: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            HEADS.append(requests[-1])
            await serve(reader, writer)
            await writer.drain()
        except ConnectionError:
            pass  # the probe has heard enough
        finally:
            writer.close()

    server = await asyncio.start_server(handle, address, 0)
    port = server.sockets[0].getsockname()[1]
    for name in ("HEALTH", "HTTP"):
        monkeypatch.setattr(ports, name, port)
    monkeypatch.setattr(probe, "_REPORT_SECONDS", 0.5)
    monkeypatch.setattr(probe, "_TIMEOUT_SECONDS", 0.5)
    made = PodProbe()
    try:
        yield made
    finally:
        await made.close()
        server.close()
        assert all(b"cookie" not in request.lower() for request in requests)


async def problem(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> tuple[str, bool]:
    """Reason and finality of a report that was not had, and no more than two seconds and a megabyte for it."""
    began = asyncio.get_running_loop().time()
    tracemalloc.start()
    try:
        async with asking(serve, monkeypatch) as pods:
            with pytest.raises(NoReport) as caught:
                await pods.report("127.0.0.1")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert asyncio.get_running_loop().time() - began < 2
    return caught.value.reason, caught.value.final


async def test_a_report_is_handed_on_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    async with asking(answer(b'{"blocks": 1}'), monkeypatch) as pods:
        assert await pods.report("127.0.0.1") == b'{"blocks": 1}'


@pytest.mark.parametrize("serve", [silence, by_drops], ids=["half-open", "drops"])
async def test_a_pod_that_does_not_come_to_an_end_is_not_waited_for(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await problem(serve, monkeypatch) == ("ReportUnreachable", False)


async def test_a_pod_that_says_too_much_is_not_heard_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await problem(without_end, monkeypatch) == ("ReportUnreadable", True)
    assert await problem(answer(b"x" * 65537), monkeypatch) == ("ReportUnreadable", True)


async def test_nothing_is_followed_or_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = answer(b"", "302 Found", "location: http://127.0.0.1:1/", "set-cookie: a=b")
    assert await problem(elsewhere, monkeypatch) == ("ReportUnreachable", False)
    packed = gzip.compress(b" " * (16 << 20))
    async with asking(answer(packed, "200 OK", "content-encoding: gzip"), monkeypatch) as pods:
        assert await pods.report("127.0.0.1") == packed


async def test_what_it_is_not_there_for_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await problem(answer(b"{}", "404 Not Found"), monkeypatch) == ("ReportNotServed", True)
    assert await problem(answer(b"{}", "500 Internal Server Error"), monkeypatch) == ("ReportUnreachable", False)
    assert await problem(answer(b"", "not a status"), monkeypatch) == ("ReportUnreachable", False)


async def test_a_pod_on_which_nothing_listens_is_asked_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    async with asking(silence, monkeypatch) as pods:
        monkeypatch.setattr(ports, "HEALTH", 1)
        with pytest.raises(NoReport) as caught:
            await pods.report("127.0.0.1")
    assert (caught.value.reason, caught.value.final) == ("ReportUnreachable", False)


async def test_a_token_proves_a_pod_and_an_endless_answer_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    async with asking(answer(b'{"num_output_tokens": 1}'), monkeypatch) as pods:
        assert await pods.ask("127.0.0.1", "m") == ""
    async with asking(without_end, monkeypatch) as pods:
        assert (await pods.ask("127.0.0.1", "m")).startswith("a response without num_output_tokens")
    async with asking(silence, monkeypatch) as pods:
        assert (await pods.ask("127.0.0.1", "m")).startswith("no response within")


def test_a_pod_with_an_ipv6_address_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask() -> tuple[str, bytes]:
        async with asking(answer(b'{"num_output_tokens": 1}'), monkeypatch, "::1") as probe:
            return await probe.ask("::1", "m"), await probe.report("::1")

    assert asyncio.run(ask()) == ("", b'{"num_output_tokens": 1}')


def by_path(**answers: Serve) -> Serve:
    """A server that answers as the one whose name is in the request's first line."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = HEADS.pop()
        body = b""
        if length := re.search(rb"content-length: (\d+)", head.lower()):
            body = await reader.readexactly(int(length[1]))
        kind = "proof" if b"/health/proof" in head else "embedding" if b"embedding_request" in body else "token"
        await answers[kind](reader, writer)

    return serve


NO_TOKENS = answer(b'{"error": "the model does not generate text"}', "400 Bad Request")
NOT_THERE = answer(b"{}", "404 Not Found")
EMBEDDING = answer(b'{"text_output": "[0.5, 1]"}')
PROOFS: dict[str, tuple[dict[str, Serve], str]] = {
    "a token": ({"token": answer(b'{"num_output_tokens": 1}')}, ""),
    "a proof of another task": ({"token": NO_TOKENS, "proof": answer(b'{"proven": true, "task": "classify"}')}, ""),
    "an embedding from an image without /health/proof": (
        {"token": NO_TOKENS, "proof": NOT_THERE, "embedding": EMBEDDING}, ""
    ),
    "text that does not come through Triton": (
        {"token": NO_TOKENS, "proof": answer(b'{"proven": true, "task": "generate"}')}, "HTTP 400"
    ),
    "a proof that is none": (
        {"token": NO_TOKENS, "proof": answer(b"[]"), "embedding": NO_TOKENS}, "HTTP 400"
    ),
    "an engine that is not ready": (
        {"token": NO_TOKENS, "proof": answer(b'{"proven": false, "reason": "x"}', "503 Unavailable")}, "HTTP 400"
    ),
    "another image behind a proxy that finds nothing": (
        {"token": NO_TOKENS, "proof": answer(b"no upstream", "503 Unavailable"), "embedding": EMBEDDING}, ""
    ),
    "an engine that has died": ({"token": answer(b'{"error": "dead"}', "503 Unavailable")}, "HTTP 503"),
    "an embedding that is none": (
        {"token": NO_TOKENS, "proof": NOT_THERE, "embedding": answer(b'{"text_output": "[]"}')}, "HTTP 400"
    ),
    "a model that is not there": ({"token": NOT_THERE}, "HTTP 404"),
}  # fmt: skip


@pytest.mark.parametrize("name", PROOFS)
async def test_a_pod_proves_its_own_task(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answers, error = PROOFS[name]
    async with asking(by_path(**answers), monkeypatch) as pods:
        found = await pods.ask("127.0.0.1", "llm")
    assert found.startswith(error) if error else found == ""
