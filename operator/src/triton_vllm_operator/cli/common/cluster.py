"""Access to a cluster with the credentials of a kubeconfig."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from triton_vllm_operator.api.kinds import Object
from triton_vllm_operator.cli.common.errors import InputError
from triton_vllm_operator.kube import gpu_inventory, login
from triton_vllm_operator.kube.client import Client
from triton_vllm_operator.kube.errors import Forbidden, KubeError

T = TypeVar("T")


def run(kubeconfig: str | None, context: str | None, request: Callable[[Client], Awaitable[T]]) -> T:
    """Run `request` with a client and return its result.

    Raises:
        InputError: there are no credentials, access is denied, or the API server does not respond.
    """

    async def connected() -> T:
        client = Client(await login.load(kubeconfig, context))
        try:
            return await request(client)
        finally:
            await client.close()

    try:
        return asyncio.run(connected())
    except login.NoLogin as error:
        raise InputError(f"no cluster: {error}") from None
    except Forbidden as error:
        raise InputError(f"access denied: {error}") from None
    except KubeError as error:
        raise InputError(f"request to the API server failed: {error}") from None


def nodes(kubeconfig: str | None, context: str | None) -> Sequence[Object]:
    """List all nodes, with their GPUs."""
    return run(kubeconfig, context, gpu_inventory.nodes)
