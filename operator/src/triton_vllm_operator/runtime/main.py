"""The command `triton-vllm-operator`."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Sequence

from triton_vllm_operator.desired.inputs import Defaults
from triton_vllm_operator.runtime import logs
from triton_vllm_operator.runtime.probe import TokenProbe
from triton_vllm_operator.runtime.reconcile import Reconciler
from triton_vllm_operator.runtime.settings import Settings
from triton_vllm_operator.runtime.shell import Reconcile, run

IN_POD_NAMESPACE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"


def parse(arguments: Sequence[str]) -> Settings:
    """Settings from the command line. Errors: SystemExit with the usage."""
    parser = argparse.ArgumentParser(prog="triton-vllm-operator", description=__doc__)
    parser.add_argument("--namespace", action="append", default=[], help="serve this namespace only; may be repeated")
    parser.add_argument("--lease-namespace", default=own_namespace(), help="namespace of the Lease (%(default)s)")
    parser.add_argument("--lease-name", default="triton-vllm-operator", help="name of the Lease (%(default)s)")
    parser.add_argument("--no-leader-election", action="store_true", help="this process is the only operator")
    parser.add_argument("--kubeconfig", help="default: the pod's service account, else KUBECONFIG, else ~/.kube/config")
    parser.add_argument("--context", help="context of the kubeconfig")
    parser.add_argument("--http-host", default="0.0.0.0", help="address of probes and metrics (%(default)s)")
    parser.add_argument("--http-port", type=int, default=8080, help="port of probes and metrics (%(default)s)")
    parser.add_argument("--log-format", choices=("text", "json"), default="text", help="(%(default)s)")
    parser.add_argument(
        "--log-level", choices=("DEBUG", "INFO", "WARNING", "ERROR"), default="INFO", help="(%(default)s)"
    )
    given = parser.parse_args(arguments)
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
