"""Every setting of the operator, with its unit and its reason; and those of kopf."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

import kopf

from triton_vllm_operator.backoff import Backoff
from triton_vllm_operator.controller.queue import QueueSettings

WATCH_SERVER_S = 15  # as long as the reflectors' own: kube/reflector.py says why
WATCH_CLIENT_S = 20


def unique_identity() -> str:
    """Who holds the lease: the pod's name for people, and a part that a restarted container does not share."""
    return f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """The validating webhook.

    Attributes:
        configuration: name of the ValidatingWebhookConfiguration whose caBundle is kept.
        hosts: how the API server calls this server: DNS names or IP addresses.
    """

    configuration: str
    hosts: tuple[str, ...]
    address: str = "0.0.0.0"  # the API server comes from outside the pod
    port: int = 9443
    # A week: a stolen key is of little use, a renewal is nothing rare, and what replicas that are gone have left in the
    # caBundle is soon gone too.
    certificate_hours: float = 168.0

    @property
    def check_s(self) -> float:
        """How often the caBundle is looked at: the longest that one which somebody emptied stays so."""
        return min(30.0, self.certificate_hours * 3600 / 30)

    @property
    def settle_s(self) -> float:
        """How long every API server may take to see a changed caBundle."""
        return min(20.0, self.certificate_hours * 3600 / 30)


@dataclass(frozen=True, slots=True)
class Settings:
    """`namespaces`: where to serve, empty for the whole cluster. `lease_namespace`: where the Lease lives."""

    namespaces: tuple[str, ...] = ()
    lease_namespace: str = "default"
    lease_name: str = "triton-vllm-operator"
    leader_election: bool = True
    kubeconfig: str | None = None
    context: str | None = None
    http_host: str = "0.0.0.0"  # probes and Prometheus come from outside the pod
    http_port: int = 8080  # 0: any free port
    webhook: WebhookSettings | None = None
    log_format: str = "text"  # or "json"
    log_level: str = "INFO"
    # How often the CRs are listed to make sure that kopf's watch has missed none: the longest that a CR can go unseen.
    audit_s: float = 60.0
    stop_s: float = 10.0  # how long reconciles under way may finish on a clean stop
    queue: QueueSettings = field(default_factory=QueueSettings)
    identity: str = field(default_factory=unique_identity)

    @property
    def scopes(self) -> tuple[str | None, ...]:
        """Namespaces to list and watch; None is all."""
        return self.namespaces or (None,)


class CappedBackoffs:
    """0.5, 1, 2, 4, 5, 5, 5, ... seconds for ever.

    kopf gives up after the last number of `error_backoffs` and takes the operator down with it, with its defaults
    after 54 s of 5xx. It accepts any iterable, and each request iterates it from the start.
    """

    def __iter__(self) -> Iterator[float]:
        return Backoff(0.5, 5.0).delays()


def kopf_settings() -> kopf.OperatorSettings:
    """kopf's settings, each with its reason."""
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True  # peering is no lock: two operators freeze each other; we hold a Lease
    settings.scanning.disabled = True  # else kopf lists and watches CRDs and namespaces: permissions we do not want
    settings.posting.enabled = False  # events are ours (kube/events.py), de-duplicated
    settings.networking.connect_timeout = 5.0  # default none: a dropped SYN would hold a watch for minutes
    settings.networking.request_timeout = 20.0  # default 300
    settings.networking.error_backoffs = CappedBackoffs()  # default: exit after 54 s of 5xx or 403
    settings.watching.server_timeout = WATCH_SERVER_S  # default: the server's 5 to 10 minutes
    settings.watching.client_timeout = WATCH_CLIENT_S  # a half-open connection is noticed within 20 s, default 70
    settings.watching.connect_timeout = 5.0
    settings.watching.reconnect_backoff = 1.0  # default 0.1: a storm of lists when every watch answers 410
    settings.watching.chunk_size = 100  # default: one answer with every CR in it
    settings.queueing.idle_timeout = 0.5  # default 5: a task and a queue for every CR stay in memory that long
    settings.persistence.consistency_timeout = 0.0  # kopf patches nothing, so there is no patch to wait for
    settings.process.ultimate_exiting_timeout = None  # kopf runs in a thread here: it must not kill the process
    return settings
