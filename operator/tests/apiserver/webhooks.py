"""The chart's webhook on an API server without a network of pods: the same configuration, called by address."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cryptography import x509

from tests.apiserver import rights
from tests.apiserver.controlplane import ADMIN_TOKEN, ControlPlane, free_ports
from triton_vllm_operator.api import kinds
from triton_vllm_operator.webhook.handler import PATH

Object = dict[str, Any]


@dataclass(frozen=True)
class Installed:
    """A ValidatingWebhookConfiguration that calls 127.0.0.1."""

    plane: ControlPlane
    name: str
    namespace: str
    port: int

    @property
    def options(self) -> tuple[str, ...]:
        """What an operator is started with to serve it."""
        given = ("--webhook-configuration", self.name, "--webhook-host", "127.0.0.1")
        return (*given, "--webhook-port", str(self.port))

    @property
    def path(self) -> str:
        return kinds.WEBHOOKS.path(name=self.name)

    def live(self) -> Object:
        code, found = self.plane.request("GET", self.path)
        assert code == 200, found
        (hook,) = found["webhooks"]
        assert isinstance(hook, dict)
        return hook

    def serials(self) -> list[int]:
        """Of the certificates in the caBundle, as numbers."""
        pem = base64.b64decode(self.live()["clientConfig"].get("caBundle", ""))
        return [one.serial_number for one in x509.load_pem_x509_certificates(pem)] if pem else []

    def empty(self) -> None:
        """What a careless replace does to the caBundle."""
        change = [{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]
        code, answer = self.plane.request("PATCH", self.path, change, "application/json-patch+json")
        assert code == 200, answer


@contextmanager
def installed(plane: ControlPlane, namespace: str) -> Iterator[Installed]:
    """The chart's configuration for a namespace, until the end."""
    obj = rights.webhook(namespace)
    (port,) = free_ports(1)
    (hook,) = obj["webhooks"]
    hook["clientConfig"] = {"url": f"https://127.0.0.1:{port}{PATH}"}
    code, answer = plane.request("POST", kinds.WEBHOOKS.path(), obj)
    assert code == 201, answer
    made = Installed(plane, obj["metadata"]["name"], namespace, port)
    yield made
    plane.request("DELETE", made.path)


@dataclass(frozen=True)
class Answer:
    """An HTTP answer of the API server, with the warnings that kubectl shows."""

    code: int
    message: str
    warnings: tuple[str, ...]


def send(plane: ControlPlane, method: str, path: str, body: Object, content_type: str = "application/json") -> Answer:
    """One request as the administrator."""
    connection = plane.connect()
    try:
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}", "Content-Type": content_type}
        connection.request(method, path, json.dumps(body), headers)
        got = connection.getresponse()
        found = json.loads(got.read())
        warnings = tuple(text.split('"', 1)[1].rstrip('"') for text in got.headers.get_all("Warning") or ())
        return Answer(got.status, str(found.get("message", "")), warnings)
    finally:
        connection.close()
