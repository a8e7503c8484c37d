"""What helm does on a real API server to what the operator has written into the chart's objects."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from aiohttp import web

from tests.apiserver.controlplane import ControlPlane, free_ports
from tests.chart.helm import CHART, Helm
from triton_vllm_operator.api import kinds
from triton_vllm_operator.kube.client import Client
from triton_vllm_operator.webhook.server import Webhook
from triton_vllm_operator.webhook.settings import WebhookSettings

Object = dict[str, Any]


@pytest.mark.parametrize("server_side", ["true", "false"])
async def test_an_upgrade_keeps_the_webhooks_certificates_and_an_uninstall_leaves_nothing(
    helm: Helm, plane: ControlPlane, namespace: str, client: Client, server_side: str
) -> None:
    """By server-side apply, as Helm 4 does, and by the patch of Helm 3."""
    where = (f"--kubeconfig={plane.kubeconfig}", f"--namespace={namespace}")
    release = f"{namespace}-triton-vllm-operator"
    configuration = f"{namespace}-{release}"

    async def run(verb: str, **values: Any) -> None:
        given = {"crds": {"enabled": False}, "namespaces": [namespace], **values}
        chart = (str(CHART), f"--server-side={server_side}")
        done = await asyncio.to_thread(helm.run, verb, release, *chart, *where, values=given)
        assert done.returncode == 0, done.stderr

    async def bundle() -> bytes:
        found = await client.get(kinds.WEBHOOKS, None, configuration)
        return base64.b64decode(found["webhooks"][0]["clientConfig"].get("caBundle", ""))

    await run("install")
    assert await bundle() == b""
    settings = WebhookSettings(configuration, ("hook.svc",), "127.0.0.1", free_ports(1)[0])
    webhook = Webhook(client, settings, web.Application())
    await webhook.start()
    await webhook.turn()
    told = await bundle()
    assert told.count(b"BEGIN CERTIFICATE") == 1
    for level in ("DEBUG", "WARNING"):
        more = {"log": {"level": level}, "webhook": {"port": 10250 if level == "DEBUG" else 9443}}
        await run("upgrade", **more)
        assert await bundle() == told
    await webhook.stop()
    assert (await asyncio.to_thread(helm.run, "uninstall", release, *where)).returncode == 0
    assert await client.find(kinds.WEBHOOKS, None, configuration) is None
