"""On which addresses the operator's servers listen."""

from __future__ import annotations

import asyncio
import socket

import aiohttp
import pytest
from aiohttp import web

from triton_vllm_operator import http_server
from triton_vllm_operator.controller.settings import Settings


def answers(host: str, *addresses: str) -> list[int]:
    """Status of a request to each address of a server that listens on `host`; 0 where nothing listens."""

    async def ask() -> list[int]:
        runner, port = await http_server.listen(web.Application(), host, 0)
        found = []
        async with aiohttp.ClientSession() as session:
            for address in addresses:
                try:
                    async with session.get(f"http://{address}:{port}/") as response:
                        found.append(response.status)
                except aiohttp.ClientConnectionError:
                    found.append(0)
        await runner.cleanup()
        return found

    return asyncio.run(ask())


def test_by_default_the_operator_and_its_webhook_listen_on_both_families() -> None:
    settings = Settings.from_arguments(["--webhook-configuration=x"])
    assert settings.webhook is not None
    for host in (settings.http_host, settings.webhook.address):
        assert answers(host, "127.0.0.1", "[::1]") == [404, 404]


@pytest.mark.parametrize(("host", "expected"), [("127.0.0.1", [404, 0]), ("::1", [0, 404]), ("0.0.0.0", [404, 0])])
def test_a_named_address_is_the_only_one(host: str, expected: list[int]) -> None:
    assert answers(host, "127.0.0.1", "[::1]") == expected


def test_without_ipv6_in_the_kernel_it_listens_on_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    assert answers(http_server.ALL_ADDRESSES, "127.0.0.1", "[::1]") == [404, 0]
