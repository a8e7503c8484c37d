"""The address of the API server and the credentials: in-cluster service account or kubeconfig."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from kubernetes.aio import config as untyped_config
from kubernetes.aio.client import Configuration

config: Any = untyped_config
NoLogin: type[Exception] = config.ConfigException


def namespace(kubeconfig: str | None = None, context: str | None = None) -> str:
    """The namespace of the kubeconfig's context, as kubectl reads it; "default" where none is set."""
    contexts, current = config.list_kube_config_contexts(config_file=kubeconfig)
    chosen = next((one for one in contexts if one["name"] == context), current)
    return str(chosen["context"].get("namespace") or "default")


async def load(kubeconfig: str | None = None, context: str | None = None) -> Configuration:
    """Read the credentials: an explicit kubeconfig, else the pod's service account, else the default kubeconfig.

    The proxy is that of the kubeconfig, else of HTTPS_PROXY and NO_PROXY.

    Raises:
        NoLogin: when none of them is usable.
    """
    configuration = Configuration()
    in_cluster = "KUBERNETES_SERVICE_HOST" in os.environ and not os.environ.get("KUBECONFIG")
    if kubeconfig is None and context is None and in_cluster:
        config.load_incluster_config(client_configuration=configuration)
    else:
        await config.load_kube_config(
            config_file=kubeconfig, context=context, client_configuration=configuration, persist_config=False
        )
    configuration.proxy = configuration.proxy or _proxy_of_environment(str(configuration.host))
    return configuration


def _proxy_of_environment(server: str) -> str | None:
    """URL of the proxy for this server in the environment. Read once: aiohttp's `trust_env` reads the
    environment and ~/.netrc again for every request, a quarter of the operator's processor time."""
    there = urlsplit(server)
    proxy = getproxies().get(there.scheme)
    return None if proxy is None or proxy_bypass(there.netloc) else proxy
