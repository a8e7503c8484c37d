"""The HTTPS server of the validating webhook, and its certificate: renewed in time, registered before it is presented.

Each replica has its own certificate and adds it to the `caBundle` of the chart's ValidatingWebhookConfiguration. A new
one is presented only after it has been there for a while, and the old one leaves the bundle only after that: the API
server trusts the presented certificate at every moment.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from aiohttp import web

from triton_vllm_operator import http_server
from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.kinds import Kind, Object
from triton_vllm_operator.backoff import Backoff
from triton_vllm_operator.kube.errors import KubeError
from triton_vllm_operator.webhook import certificates
from triton_vllm_operator.webhook.certificates import Certificate
from triton_vllm_operator.webhook.settings import WebhookSettings

log = logging.getLogger(__name__)

RETRY_S = 4.0  # after the first failure; it doubles up to the time between two checks
STOP_S = 3.0  # how long running reviews may take to finish: the API server waits no longer


class Api(Protocol):
    """The part of the client that the webhook uses."""

    async def find(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        """One object, or None where it does not exist."""

    async def apply(self, obj: Object, *, uid: str | None) -> Object:
        """Server-side apply."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Webhook:
    """One replica's server.

    Attributes:
        registered: whether the presented certificate is in the caBundle; None before the first try has ended.
    """

    client: Api
    settings: WebhookSettings
    app: web.Application
    clock: Callable[[], datetime] = _utc_now
    registered: bool | None = None
    _holder: str = ""
    _presented: Certificate = field(init=False)
    _next: Certificate | None = None
    _next_since: datetime | None = None  # when the next one was registered
    _context: ssl.SSLContext = field(init=False)
    _runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Start listening; returns the port."""
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        # A restarted container of the same pod replaces the certificate of the one before it.
        self._holder = f"{socket.gethostname()}:{self.settings.port}"
        self._presented = self._make()
        certificates.present(self._context, self._presented)
        where = (self.settings.address, self.settings.port)
        self._runner, port = await http_server.listen(self.app, *where, tls=self._context, stop_s=STOP_S)
        log.info("webhook on port %d", port)
        return port

    async def stop(self) -> None:
        """Finish running reviews and close the port."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def run(self) -> None:
        """Keep the certificate valid and registered. Never returns; cancel it."""
        failures = 0
        while True:
            try:
                registered = await self.turn()
                failures = 0
                if not registered and self.registered is not False:
                    log.warning(
                        "ValidatingWebhookConfiguration %s not found: nothing is validated", self.settings.configuration
                    )
            except KubeError as error:
                registered = False
                failures += 1
                log.warning("the webhook's certificate was not registered: %s", error)
            self.registered = registered
            retry = Backoff(RETRY_S, self.settings.check_s)
            await asyncio.sleep(retry.delay_s(failures - 1) if failures else self.settings.check_s)

    async def turn(self) -> bool:
        """Make a new certificate in time, register it, and present it once it was registered long enough ago.

        Returns whether they are registered: False where the chart's configuration does not exist.
        """
        now = self.clock()
        if self._next is None and now >= self._presented.renew_at:
            self._next, self._next_since = self._make(), None
        if not await self._register(now):
            return False
        if self._next is not None:
            self._next_since = self._next_since or now
            if now - self._next_since >= timedelta(seconds=self.settings.settle_s):
                certificates.present(self._context, self._next)
                log.info("the webhook presents a new certificate, valid until %s", self._next.expires_at.isoformat())
                self._presented, self._next = self._next, None
        return True

    @property
    def expires_at(self) -> datetime:
        """End of the presented certificate's life."""
        return self._presented.expires_at

    def _make(self) -> Certificate:
        lifetime = timedelta(hours=self.settings.certificate_hours)
        return certificates.make(self.settings.hosts, self._holder, lifetime, self.clock())

    async def _register(self, now: datetime) -> bool:
        """Write the caBundle; returns False where there is no configuration.

        The resourceVersion makes the write fail when another replica wrote meanwhile; the next try sees both.
        """
        live = await self.client.find(kinds.WEBHOOKS, None, self.settings.configuration)
        if live is None:
            return False
        ours = [self._presented, *([self._next] if self._next else [])]
        before = {hook["name"]: _decoded(hook) for hook in live.get("webhooks", [])}
        after = {name: certificates.bundle(pem, ours, self._holder, now) for name, pem in before.items()}
        if after != before:
            meta = {key: live["metadata"][key] for key in ("name", "resourceVersion")}
            hooks = [{"name": name, "clientConfig": {"caBundle": _encoded(pem)}} for name, pem in after.items()]
            body = {"apiVersion": kinds.WEBHOOKS.api_version, "kind": kinds.WEBHOOKS.kind, "metadata": meta}
            await self.client.apply({**body, "webhooks": hooks}, uid=live["metadata"]["uid"])
        return True


def _decoded(hook: Object) -> bytes:
    return base64.b64decode(hook["clientConfig"].get("caBundle") or "")


def _encoded(pem: bytes) -> str:
    return base64.b64encode(pem).decode()
