"""Where the API server is and who we are: in-cluster service account or kubeconfig."""

from __future__ import annotations

import os
from typing import Any

from kubernetes.aio import config as untyped_config
from kubernetes.aio.client import Configuration

config: Any = untyped_config


async def load(kubeconfig: str | None = None, context: str | None = None) -> Configuration:
    """Read the credentials: an explicit kubeconfig, else the pod's service account, else the default kubeconfig.

    Errors: `kubernetes.aio.config.ConfigException` when none of them is usable.
    """
    configuration = Configuration()
    in_cluster = "KUBERNETES_SERVICE_HOST" in os.environ and not os.environ.get("KUBECONFIG")
    if kubeconfig is None and context is None and in_cluster:
        config.load_incluster_config(client_configuration=configuration)
    else:
        await config.load_kube_config(
            config_file=kubeconfig, context=context, client_configuration=configuration, persist_config=False
        )
    return configuration
