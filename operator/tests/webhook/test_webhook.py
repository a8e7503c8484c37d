"""The webhook's certificate: the CA bundle of the API server always covers the certificate that is presented."""

from __future__ import annotations

import asyncio
import base64
import copy
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509

from tests.apiserver.controlplane import free_ports
from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.kinds import Kind
from triton_vllm_operator.kube.errors import Conflict
from triton_vllm_operator.webhook import certificates
from triton_vllm_operator.webhook.server import Webhook
from triton_vllm_operator.webhook.settings import WebhookSettings

Object = dict[str, Any]
NOW = datetime(2026, 11, 26, tzinfo=UTC)
WEEK = timedelta(hours=168)


def certificate(holder: str, now: datetime = NOW, lifetime: timedelta = WEEK) -> certificates.Certificate:
    return certificates.make(["hook.system.svc"], holder, lifetime, now)


def holders(pem: bytes) -> list[str]:
    return [str(one.subject.rfc4514_string()).removeprefix("CN=") for one in x509.load_pem_x509_certificates(pem)]


# -------------------------------------------------------------------------------------------------- the bundle


def test_a_certificate_names_its_hosts_and_can_sign_nothing() -> None:
    made = certificates.make(["hook.system.svc", "127.0.0.1"], "pod:9443", WEEK, NOW)
    one = x509.load_pem_x509_certificate(made.certificate)
    names = one.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["hook.system.svc"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert not one.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert one.not_valid_before_utc == NOW - timedelta(hours=1)
    assert one.not_valid_after_utc == made.expires_at == NOW + WEEK
    assert b"PRIVATE" in made.key
    assert "PRIVATE" not in repr(made)


def test_the_bundle_keeps_other_replicas_and_replaces_its_own() -> None:
    first = certificates.bundle(b"", [certificate("a")], "a", NOW)
    second = certificates.bundle(first, [certificate("b")], "b", NOW)
    assert sorted(holders(second)) == ["a", "b"]
    newer = certificate("a", NOW + timedelta(hours=1))
    third = certificates.bundle(second, [newer], "a", NOW + timedelta(hours=1))
    assert holders(third) == ["b", "a"]
    assert newer.certificate.strip() in third


def test_the_bundle_stays_as_it_is_while_nothing_changes() -> None:
    own = certificate("a")
    once = certificates.bundle(certificates.bundle(b"", [certificate("b")], "b", NOW), [own], "a", NOW)
    assert certificates.bundle(once, [own], "a", NOW) == once


def test_expired_certificates_leave_the_bundle() -> None:
    old = certificates.bundle(b"", [certificate("gone")], "gone", NOW)
    later = NOW + WEEK + timedelta(seconds=1)
    assert holders(certificates.bundle(old, [certificate("a", later)], "a", later)) == ["a"]


def test_a_bundle_of_pods_that_came_and_went_does_not_grow_without_end() -> None:
    live = b""
    for number in range(40):
        now = NOW + timedelta(minutes=number)
        live = certificates.bundle(live, [certificate(f"p{number}", now)], f"p{number}", now)
    assert holders(live) == [f"p{number}" for number in range(24, 40)]


@pytest.mark.parametrize(
    "damaged", [b"\n", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_what_is_no_certificate_is_dropped(damaged: bytes) -> None:
    assert holders(certificates.bundle(damaged, [certificate("a")], "a", NOW)) == ["a"]


# ------------------------------------------------------------------------------------------------ the rotation


@dataclass
class Configuration:
    """The one object that the webhook reads and writes, with the API server's precondition."""

    bundles: list[bytes] = field(default_factory=lambda: [b""])
    there: bool = True
    taken: int = 0  # number of writes that meet one of another manager
    told: asyncio.Event = field(default_factory=asyncio.Event)

    async def find(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        assert (kind, namespace, name) == (kinds.WEBHOOKS, None, "hooks")
        hook = {"name": "validate", "clientConfig": {"caBundle": base64.b64encode(self.bundles[-1]).decode()}}
        meta = {"name": name, "uid": "u", "resourceVersion": str(len(self.bundles))}
        return {"metadata": meta, "webhooks": [hook]} if self.there else None

    async def apply(self, obj: Object, *, uid: str | None) -> Object:
        assert uid == "u"
        if self.taken:
            self.taken -= 1
            raise Conflict("another manager wrote first")
        assert obj["metadata"]["resourceVersion"] == str(len(self.bundles))
        self.told.set()
        self.bundles.append(base64.b64decode(obj["webhooks"][0]["clientConfig"]["caBundle"]))
        return copy.deepcopy(obj)


@dataclass
class Clock:
    """Begins far enough in the past that certificates which are made later are valid today."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(hours=130))

    def __call__(self) -> datetime:
        return self.now

    def pass_s(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


async def hello(_: web.Request) -> web.Response:
    return web.Response(text="ok")


@asynccontextmanager
async def served(**changes: Any) -> AsyncIterator[tuple[Webhook, Configuration, Clock]]:
    app = web.Application()
    app.router.add_get("/", hello)
    (port,) = free_ports(1)
    settings = replace(WebhookSettings("hooks", ("127.0.0.1",), "127.0.0.1", port), **changes)
    api, clock = Configuration(), Clock()
    webhook = Webhook(api, settings, app, clock)
    await webhook.start()
    yield webhook, api, clock
    await webhook.stop()


async def trusted(webhook: Webhook, bundle: bytes) -> bool:
    """Whether a client that trusts the bundle gets an answer, over a connection of its own."""
    context = ssl.create_default_context(cadata=bundle.decode())
    url = f"https://127.0.0.1:{webhook.settings.port}/"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        try:
            async with session.get(url) as answer:
                return await answer.text() == "ok"
        except aiohttp.ClientConnectorCertificateError:
            return False


async def test_the_api_server_is_told_what_it_is_shown() -> None:
    async with served() as (webhook, api, _):
        assert await webhook.turn()
        assert await trusted(webhook, api.bundles[-1])


async def test_at_every_moment_of_a_rotation_the_bundle_of_before_and_after_is_trusted() -> None:
    async with served() as (webhook, api, clock):
        await webhook.turn()
        first = api.bundles[-1]
        clock.pass_s(112 * 3600 + 1)  # two thirds of a week
        await webhook.turn()
        both = api.bundles[-1]
        assert len(holders(both)) == 2
        assert await trusted(webhook, first), "the old one is still shown to an API server that has not heard yet"
        clock.pass_s(webhook.settings.settle_s)
        await webhook.turn()
        assert not await trusted(webhook, first), "now the new one is shown"
        assert await trusted(webhook, both)
        await webhook.turn()
        assert len(holders(api.bundles[-1])) == 1
        assert await trusted(webhook, api.bundles[-1])


async def test_a_certificate_that_the_api_server_was_not_told_is_not_shown() -> None:
    async with served() as (webhook, api, clock):
        await webhook.turn()
        first = api.bundles[-1]
        clock.pass_s(112 * 3600 + 1)
        api.taken = 3
        for _ in range(3):
            with pytest.raises(Conflict):
                await webhook.turn()
            clock.pass_s(3600)
        assert await trusted(webhook, first)
        await webhook.turn()
        assert await trusted(webhook, first)
        clock.pass_s(webhook.settings.settle_s)
        await webhook.turn()
        assert await trusted(webhook, api.bundles[-1])


async def test_an_open_connection_outlives_a_rotation() -> None:
    async with served() as (webhook, api, clock):
        await webhook.turn()
        context = ssl.create_default_context(cadata=api.bundles[-1].decode())
        url = f"https://127.0.0.1:{webhook.settings.port}/"
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, limit=1)) as session:
            for seconds in (0, 112 * 3600 + 1, webhook.settings.settle_s, 60):
                clock.pass_s(seconds)
                await webhook.turn()
                async with session.get(url) as answer:
                    assert answer.status == 200


async def test_an_emptied_bundle_is_filled_again_and_a_missing_configuration_is_never_made() -> None:
    async with served() as (webhook, api, _):
        await webhook.turn()
        api.bundles.append(b"")
        assert await webhook.turn()
        assert await trusted(webhook, api.bundles[-1])
        api.there, writes = False, len(api.bundles)
        assert not await webhook.turn()
        assert len(api.bundles) == writes


async def test_the_loop_goes_on_after_a_conflict() -> None:
    async with served() as (webhook, api, _):
        api.taken = 1
        task = asyncio.ensure_future(webhook.run())
        await api.told.wait()
        task.cancel()
        assert await trusted(webhook, api.bundles[-1])
