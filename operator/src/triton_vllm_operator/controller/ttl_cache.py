"""What is listed when somebody asks, and shared by all who ask soon after: it changes too often to be watched."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

from triton_vllm_operator.api import kinds, names
from triton_vllm_operator.api.kinds import Object
from triton_vllm_operator.capacity import GPUPod, gpu_pods
from triton_vllm_operator.controller.manager import Cluster
from triton_vllm_operator.kube import gpu_inventory
from triton_vllm_operator.kube.gpu_inventory import Held

NODES_KEPT_S = 15.0  # one list serves everybody who asks within this time
AHEAD_S = 10.0  # who asks this late starts the next list, so that nobody waits for one while many ask
HELD_KEPT_S = 30.0  # a list of all pods of the cluster is the most that is ever asked of the API server
OWN_KEPT_S = 2.0  # to read thousands of watched pods takes a tenth of a second

T = TypeVar("T")


@dataclass
class Shared(Generic[T]):
    """The last answer, and the question under way.

    Attributes:
        read: asks the API server.
        kept_s: how long an answer serves.
        ahead_s: how old it is when the next question is asked in advance.
    """

    read: Callable[[Cluster], Awaitable[T]]
    kept_s: float
    ahead_s: float
    _known: T | None = None
    _at: float = float("-inf")  # when the last answer was asked for, in seconds of the event loop's clock
    _reading: asyncio.Task[None] | None = field(default=None)

    async def get(self, cluster: Cluster) -> T:
        """The answer as it was at most `kept_s` ago. Errors: KubeError of the list."""
        age = asyncio.get_running_loop().time() - self._at
        if age >= self.ahead_s and self._reading is None:
            self._reading = asyncio.ensure_future(self._read(cluster))
            self._reading.add_done_callback(self._ended)
        if age >= self.kept_s and self._reading is not None:
            await asyncio.shield(self._reading)
        return cast(T, self._known)

    async def _read(self, cluster: Cluster) -> None:
        began = asyncio.get_running_loop().time()
        self._known = await self.read(cluster)
        self._at = began

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._reading = None
        if not task.cancelled():
            task.exception()  # who waited has got it; a list ahead of time may fail


def nodes() -> Shared[list[Object]]:
    """Every node of the cluster, with its GPUs."""
    return Shared(lambda cluster: gpu_inventory.nodes(cluster.client), NODES_KEPT_S, AHEAD_S)


def held() -> Shared[Held]:
    """The pods that hold GPUs in the namespaces that the operator serves, but for those of LLMDeployments."""
    others = f"!{names.INSTANCE_LABEL}"
    return Shared(lambda cluster: gpu_inventory.held(cluster.client, cluster.scopes, others), HELD_KEPT_S, HELD_KEPT_S)


def held_by_own() -> Shared[list[GPUPod]]:
    """The pods of LLMDeployments that hold GPUs, of which the watches tell."""

    async def read(cluster: Cluster) -> list[GPUPod]:
        return list(gpu_pods(cluster.stores[kinds.POD].all()))

    return Shared(read, OWN_KEPT_S, OWN_KEPT_S)
