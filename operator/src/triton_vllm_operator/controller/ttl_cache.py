"""A cached list with a time to live, for what changes too often to be watched: nodes, and pods that hold GPUs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

from triton_vllm_operator.api import kinds, names
from triton_vllm_operator.api.kinds import Object
from triton_vllm_operator.capacity import GPUPod, gpu_pods
from triton_vllm_operator.controller.cluster import ClusterView
from triton_vllm_operator.kube import gpu_inventory
from triton_vllm_operator.kube.gpu_inventory import Held

NODES_KEPT_S = 15.0  # one list serves every call within this time
AHEAD_S = 10.0  # a call this late starts the next list, so that no call waits for one while there are many
HELD_KEPT_S = 30.0  # all pods of the cluster are the largest list that the API server is ever asked for
OWN_KEPT_S = 2.0  # to read thousands of watched pods takes a tenth of a second

T = TypeVar("T")


@dataclass
class TTLCache(Generic[T]):
    """The last list, and the request in progress.

    Attributes:
        read: lists.
        kept_s: how long a list is used.
        ahead_s: the age at which the next list is requested in advance.
    """

    read: Callable[[ClusterView], Awaitable[T]]
    kept_s: float
    ahead_s: float
    _known: T | None = None
    _at: float = float("-inf")  # when the last list was requested, in seconds of the event loop's clock
    _reading: asyncio.Task[None] | None = field(default=None)

    async def get(self, cluster: ClusterView) -> T:
        """The list, which was requested at most `kept_s` ago.

        Raises:
            KubeError: of the list.
        """
        age = asyncio.get_running_loop().time() - self._at
        if age >= self.ahead_s and self._reading is None:
            self._reading = asyncio.ensure_future(self._read(cluster))
            self._reading.add_done_callback(self._ended)
        if age >= self.kept_s and self._reading is not None:
            await asyncio.shield(self._reading)
        return cast(T, self._known)

    async def _read(self, cluster: ClusterView) -> None:
        began = asyncio.get_running_loop().time()
        self._known = await self.read(cluster)
        self._at = began

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._reading = None
        if not task.cancelled():
            task.exception()  # callers that waited have got it; a list in advance may fail


def nodes() -> TTLCache[list[Object]]:
    """Every node of the cluster, with its GPUs."""
    return TTLCache(lambda cluster: gpu_inventory.nodes(cluster.client), NODES_KEPT_S, AHEAD_S)


def held() -> TTLCache[Held]:
    """The pods that hold GPUs in the namespaces that the operator serves, without those of LLMDeployments."""
    others = f"!{names.INSTANCE_LABEL}"
    return TTLCache(lambda view: gpu_inventory.held(view.client, view.scopes, others), HELD_KEPT_S, HELD_KEPT_S)


def held_by_own() -> TTLCache[list[GPUPod]]:
    """The pods of LLMDeployments that hold GPUs, which are watched."""

    async def read(cluster: ClusterView) -> list[GPUPod]:
        return list(gpu_pods(cluster.stores[kinds.POD].all()))

    return TTLCache(read, OWN_KEPT_S, OWN_KEPT_S)
