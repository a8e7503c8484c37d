"""The user's own cluster, asked with the credentials of a kubeconfig."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from triton_vllm_operator.api.kinds import Object
from triton_vllm_operator.cli.errors import InputProblem
from triton_vllm_operator.kube import gpu_inventory, login
from triton_vllm_operator.kube.client import Client
from triton_vllm_operator.kube.errors import Forbidden, KubeError

T = TypeVar("T")


def ask(kubeconfig: str | None, context: str | None, question: Callable[[Client], Awaitable[T]]) -> T:
    """What `question` makes of the cluster. Errors: InputProblem without credentials or an answer."""

    async def run() -> T:
        client = Client(await login.load(kubeconfig, context))
        try:
            return await question(client)
        finally:
            await client.close()

    try:
        return asyncio.run(run())
    except login.NoLogin as error:
        raise InputProblem(f"no cluster: {error}") from None
    except Forbidden as error:
        raise InputProblem(f"you may not look at it: {error}") from None
    except KubeError as error:
        raise InputProblem(f"the cluster does not answer: {error}") from None


def nodes(kubeconfig: str | None, context: str | None) -> Sequence[Object]:
    """All nodes, with their GPUs."""
    return ask(kubeconfig, context, gpu_inventory.nodes)
