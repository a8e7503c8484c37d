"""Every setting of the operator, with its unit and its reason, read once from the command line."""

from __future__ import annotations

import argparse
import os
import platform
import socket
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from triton_vllm_operator.controller.queue import QueueSettings
from triton_vllm_operator.desired.inputs import Defaults
from triton_vllm_operator.desired.pod_settings import PodSettings
from triton_vllm_operator.http_server import ALL_ADDRESSES
from triton_vllm_operator.observed.claims import TAKEOVER_S
from triton_vllm_operator.webhook.settings import WebhookSettings

IN_POD_NAMESPACE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")


def unique_identity() -> str:
    """The holder of the Lease: the pod's name, and a part that a restarted container does not share."""
    return f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"


@dataclass(frozen=True, slots=True)
class Settings:
    """The operator's settings.

    Attributes:
        namespaces: to serve; empty for the whole cluster.
        lease_namespace: of the Lease.
        http_port: of probes and metrics; 0 for any free port.
        webhook: None where none is served.
        pods: options that reach the pods.
        log_format: "text" or "json".
        audit_s: seconds between two lists of the CRs, which show whether kopf's watch has missed one: the longest that
            a CR can go unseen.
        takeover_s: seconds without an answer of another operator until its LLMDeployments are taken over.
        stop_s: seconds that reconciles in progress may take to finish on a clean stop.
    """

    namespaces: tuple[str, ...] = ()
    lease_namespace: str = "default"
    lease_name: str = "triton-vllm-operator"
    leader_election: bool = True
    kubeconfig: str | None = None
    context: str | None = None
    http_host: str = ALL_ADDRESSES  # probes and Prometheus come from outside the pod
    http_port: int = 8080
    webhook: WebhookSettings | None = None
    pods: PodSettings = field(default_factory=PodSettings)
    log_format: str = "text"
    log_level: str = "INFO"
    audit_s: float = 60.0
    stop_s: float = 10.0
    takeover_s: float = TAKEOVER_S
    queue: QueueSettings = field(default_factory=QueueSettings)
    identity: str = field(default_factory=unique_identity)

    @property
    def name(self) -> str:
        """Name of the operator: its Lease, which its replicas and its next version share."""
        return f"{self.lease_namespace}/{self.lease_name}"

    @property
    def scopes(self) -> tuple[str | None, ...]:
        """Namespaces to list and watch; None is all."""
        return self.namespaces or (None,)

    @classmethod
    def from_arguments(cls, arguments: Sequence[str]) -> Settings:
        """The settings from the command line.

        Raises:
            SystemExit: with the usage, for an invalid option.
        """
        options = _parser().parse_args(arguments)
        return cls(
            namespaces=tuple(options.namespace),
            lease_namespace=options.lease_namespace,
            lease_name=options.lease_name,
            leader_election=not options.no_leader_election,
            kubeconfig=options.kubeconfig,
            context=options.context,
            http_host=options.http_host,
            http_port=options.http_port,
            webhook=_webhook(options),
            pods=_pods(options),
            log_format=options.log_format,
            log_level=options.log_level,
            takeover_s=options.takeover_seconds,
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="triton-vllm-operator")
    add = parser.add_argument
    add("--namespace", action="append", default=[], help="namespace to serve (default: all); may be repeated")
    add("--lease-namespace", default=own_namespace(), help="namespace of the Lease (%(default)s)")
    add("--lease-name", default="triton-vllm-operator", help="name of the Lease (%(default)s)")
    add("--no-leader-election", action="store_true", help="hold no Lease: no other operator may run")
    takeover = "seconds without an answer of another operator until its LLMDeployments are taken over (%(default)s)"
    add("--takeover-seconds", type=float, default=TAKEOVER_S, help=takeover)
    add("--kubeconfig", help="default: the pod's service account, else KUBECONFIG, else ~/.kube/config")
    add("--context", help="context of the kubeconfig")
    every = "address of probes, metrics and webhook (default: all, IPv4 and IPv6)"
    add("--http-host", default=ALL_ADDRESSES, help=every)
    add("--http-port", type=int, default=8080, help="port of probes and metrics (%(default)s)")
    add("--webhook-configuration", help="name of the ValidatingWebhookConfiguration to serve (default: none is served)")
    add("--webhook-host", action="append", default=[], help="DNS name or IP address of the webhook; may be repeated")
    add("--webhook-port", type=int, default=9443, help="port of the webhook (%(default)s)")
    add("--webhook-certificate-hours", type=_hours, default=168.0, help="lifetime of its certificate (%(default)s)")
    add("--log-format", choices=("text", "json"), default="text", help="(%(default)s)")
    add("--log-level", choices=("DEBUG", "INFO", "WARNING", "ERROR"), default="INFO", help="(%(default)s)")
    add("--operator-image", help="image of the inspection pods: this program's own")
    add("--operator-image-pull-policy", choices=_PULL_POLICIES, default="", help="pull policy of --operator-image")
    add("--serving-image", help="image of LLMDeployments that set none (default: NVIDIA's newest release)")
    add("--serving-image-pull-policy", choices=_PULL_POLICIES, default="", help="pull policy of serving images")
    add("--serving-image-pull-secret", action="append", default=[], help="name of a pull secret; may be repeated")
    assigned = "pods set no user and no groups: the namespace assigns them, as OpenShift does"
    add("--assigned-user", action="store_true", help=assigned)
    add("--serving-env", type=_pair, action="append", default=[], metavar="NAME=VALUE", help="of every serving pod")
    return parser


def _webhook(options: argparse.Namespace) -> WebhookSettings | None:
    if not options.webhook_configuration:
        return None
    return WebhookSettings(
        configuration=options.webhook_configuration,
        hosts=tuple(options.webhook_host),
        address=options.http_host,
        port=options.webhook_port,
        certificate_hours=options.webhook_certificate_hours,
    )


def _pods(options: argparse.Namespace) -> PodSettings:
    return PodSettings(
        serving_image=options.serving_image,
        operator_image=options.operator_image,
        operator_image_pull_policy=options.operator_image_pull_policy,
        architecture=_ARCHITECTURES.get(platform.machine(), ""),
        defaults=Defaults(
            image_pull_policy=options.serving_image_pull_policy,
            env=dict(options.serving_env),
            image_pull_secrets=tuple(options.serving_image_pull_secret),
            fixed_user=not options.assigned_user,
        ),
    )


def _hours(text: str) -> float:
    hours = float(text)
    if not 0.001 <= hours <= 87600:
        raise argparse.ArgumentTypeError(f"{text} must be between 0.001 and 87600")
    return hours


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def own_namespace() -> str:
    """The namespace that the pod runs in; `default` outside a cluster."""
    if os.path.exists(IN_POD_NAMESPACE):
        with open(IN_POD_NAMESPACE, encoding="utf-8") as file:
            return file.read().strip()
    return "default"
