"""The command line of the operator, whatever its reconcile is."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Sequence

from triton_vllm_operator.controller import logs
from triton_vllm_operator.controller.manager import Reconcile, Review, run
from triton_vllm_operator.controller.settings import Settings, WebhookSettings

IN_POD_NAMESPACE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"


def command_line() -> argparse.ArgumentParser:
    """The options of the operator."""
    parser = argparse.ArgumentParser(prog="triton-vllm-operator")
    add = parser.add_argument
    add("--namespace", action="append", default=[], help="serve this namespace only; may be repeated")
    add("--lease-namespace", default=own_namespace(), help="namespace of the Lease (%(default)s)")
    add("--lease-name", default="triton-vllm-operator", help="name of the Lease (%(default)s)")
    add("--no-leader-election", action="store_true", help="this process is the only operator")
    add("--kubeconfig", help="default: the pod's service account, else KUBECONFIG, else ~/.kube/config")
    add("--context", help="context of the kubeconfig")
    add("--http-host", default="0.0.0.0", help="address of probes and metrics (%(default)s)")
    add("--http-port", type=int, default=8080, help="port of probes and metrics (%(default)s)")
    add("--webhook-configuration", help="ValidatingWebhookConfiguration to serve, by name; none is served without it")
    add("--webhook-host", action="append", default=[], help="name or address by which it is called; may be repeated")
    add("--webhook-port", type=int, default=9443, help="port of the webhook (%(default)s)")
    add("--webhook-certificate-hours", type=_hours, default=168.0, help="lifetime of its certificate (%(default)s)")
    add("--log-format", choices=("text", "json"), default="text", help="(%(default)s)")
    add("--log-level", choices=("DEBUG", "INFO", "WARNING", "ERROR"), default="INFO", help="(%(default)s)")
    add("--operator-image", help="image of this program, for the pods that read a model before it is served")
    add("--operator-image-pull-policy", choices=("Always", "IfNotPresent", "Never"), default="", help="of those pods")
    add("--serving-image", help="image of an LLMDeployment that names none (NVIDIA's newest)")
    add("--serving-image-pull-policy", choices=("Always", "IfNotPresent", "Never"), default="", help="of every server")
    add("--serving-image-pull-secret", action="append", default=[], help="name of a Secret; may be repeated")
    add("--serving-env", type=_pair, action="append", default=[], metavar="NAME=VALUE", help="of every server")
    return parser


def parse(arguments: Sequence[str]) -> Settings:
    """Settings from the command line. Errors: SystemExit with the usage."""
    given = command_line().parse_args(arguments)
    return Settings(
        namespaces=tuple(given.namespace),
        lease_namespace=given.lease_namespace,
        lease_name=given.lease_name,
        leader_election=not given.no_leader_election,
        kubeconfig=given.kubeconfig,
        context=given.context,
        http_host=given.http_host,
        http_port=given.http_port,
        webhook=_webhook(given),
        log_format=given.log_format,
        log_level=given.log_level,
    )


def _webhook(given: argparse.Namespace) -> WebhookSettings | None:
    if not given.webhook_configuration:
        return None
    return WebhookSettings(
        configuration=given.webhook_configuration,
        hosts=tuple(given.webhook_host),
        address=given.http_host,
        port=given.webhook_port,
        certificate_hours=given.webhook_certificate_hours,
    )


def _hours(text: str) -> float:
    hours = float(text)
    if not 0.001 <= hours <= 87600:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.001 and 87600")
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


def start(reconcile: Reconcile, arguments: Sequence[str], review: Review | None = None) -> None:
    """Parse, set up the log and run until told to stop. `review`: what the webhook answers by."""
    settings = parse(arguments)
    logs.set_up(settings.log_format, settings.log_level)
    asyncio.run(run(reconcile, settings, review))
