"""The command `triton-vllm-operator`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from triton_vllm_operator.runtime import logs
from triton_vllm_operator.runtime.probe import TokenProbe
from triton_vllm_operator.runtime.reconcile import Reconciler
from triton_vllm_operator.runtime.settings import Settings
from triton_vllm_operator.runtime.shell import Reconcile, run

IN_POD_NAMESPACE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"


def command_line() -> argparse.ArgumentParser:
    """The options of the operator."""
    parser = argparse.ArgumentParser(prog="triton-vllm-operator", description=__doc__)
    add = parser.add_argument
    add("--namespace", action="append", default=[], help="serve this namespace only; may be repeated")
    add("--lease-namespace", default=own_namespace(), help="namespace of the Lease (%(default)s)")
    add("--lease-name", default="triton-vllm-operator", help="name of the Lease (%(default)s)")
    add("--no-leader-election", action="store_true", help="this process is the only operator")
    add("--kubeconfig", help="default: the pod's service account, else KUBECONFIG, else ~/.kube/config")
    add("--context", help="context of the kubeconfig")
    add("--http-host", default="0.0.0.0", help="address of probes and metrics (%(default)s)")
    add("--http-port", type=int, default=8080, help="port of probes and metrics (%(default)s)")
    add("--log-format", choices=("text", "json"), default="text", help="(%(default)s)")
    add("--log-level", choices=("DEBUG", "INFO", "WARNING", "ERROR"), default="INFO", help="(%(default)s)")
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
        log_format=given.log_format,
        log_level=given.log_level,
    )


def reconciler(arguments: Sequence[str]) -> Reconciler:
    """The reconciler with the command line's settings of the serving pods. Errors: SystemExit with the usage."""
    given = command_line().parse_args(arguments)
    defaults = Defaults(
        image_pull_policy=given.serving_image_pull_policy,
        env=dict(given.serving_env),
        image_pull_secrets=tuple(given.serving_image_pull_secret),
    )
    return Reconciler(TokenProbe(), given.serving_image, defaults)


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


def start(reconcile: Reconcile, arguments: Sequence[str]) -> None:
    """Parse, set up the log and run until told to stop."""
    settings = parse(arguments)
    logs.set_up(settings.log_format, settings.log_level)
    asyncio.run(run(reconcile, settings))


def main() -> None:
    """Run with the arguments of the process."""
    start(reconciler(sys.argv[1:]), sys.argv[1:])


if __name__ == "__main__":
    main()


def main() -> None:
    start(Reconciler(TokenProbe()), sys.argv[1:])
