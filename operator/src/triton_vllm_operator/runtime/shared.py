"""The nodes of the cluster, listed when somebody asks: they are not watched, since their heartbeats never end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from triton_vllm_operator.kube import kinds
from triton_vllm_operator.kube.client import Client
from triton_vllm_operator.kube.kinds import Object

NODES_KEPT_S = 15.0  # one list serves everybody who asks within this time
AHEAD_S = 10.0  # who asks this late starts the next list, so that nobody waits for one while many ask


@dataclass
class Nodes:
    """The last list, and the one under way."""

    _known: list[Object] = field(default_factory=list)
    _at: float = float("-inf")  # when the last list was asked for, in seconds of the event loop's clock
    _listing: asyncio.Task[None] | None = None

    async def all(self, client: Client) -> list[Object]:
        """Every node as it was at most `NODES_KEPT_S` ago. Errors: KubeError of the list."""
        age = asyncio.get_running_loop().time() - self._at
        if age >= AHEAD_S and self._listing is None:
            self._listing = asyncio.ensure_future(self._list(client))
            self._listing.add_done_callback(self._ended)
        if age >= NODES_KEPT_S and self._listing is not None:
            await asyncio.shield(self._listing)
        return self._known

    async def _list(self, client: Client) -> None:
        began = asyncio.get_running_loop().time()
        self._known = await client.list_all(kinds.NODE)
        self._at = began

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._listing = None
        if not task.cancelled():
            task.exception()  # who waited has got it; a list ahead of time may fail
