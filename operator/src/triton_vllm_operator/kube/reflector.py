"""Keeps a store equal to the cluster: list, then watch, without end, whatever the API server does.

kopf's watches are not used for the children, because kopf does not report when it lists again: an object that was
deleted while a watch was broken would stay in any cache fed by it (see docs/adr/0001-watches.md).
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from triton_vllm_operator.api.kinds import Object
from triton_vllm_operator.api.names import INSTANCE_LABEL
from triton_vllm_operator.backoff import Backoff, with_jitter
from triton_vllm_operator.kube.client import Client
from triton_vllm_operator.kube.errors import Expired, KubeError, Retry, from_status
from triton_vllm_operator.kube.store import Place, Store

log = logging.getLogger(__name__)

# The server ends a watch after this long and the client times out 5 s later, so a half-open connection is noticed
# within 20 s. A new request costs the server next to nothing: it continues from the last version.
WATCH_S = 15
# Everything is listed again this often, +-20 %: whatever a watch may have missed is known after that.
RELIST_S = 450.0
LONGEST_BLIND_S = 600.0  # RELIST_S at its longest, and one watch that is under way
RETRY = Backoff(0.5, 10.0)
REPEATED_LINE = 30  # the same error is logged again after this many tries


@dataclass
class Health:
    """When the loop was last active, in seconds of the event loop's clock.

    `turned`: it started a request or read an event, so it is not stuck. `heard`: the server responded without an error.
    """

    turned: float
    heard: float | None = None


@dataclass
class Reflector:
    """One kind in one namespace (None: all), by a label selector on the server's side."""

    client: Client
    store: Store
    namespace: str | None = None
    label_selector: str = ""
    rand: random.Random = field(default_factory=random.Random)
    synced: asyncio.Event = field(default_factory=asyncio.Event)
    error: KubeError | None = None  # of the last request, None once the server has responded without one
    health: Health = field(init=False)
    _version: str | None = None
    _list_at: float = 0.0  # when everything is listed again, in seconds of the event loop's clock

    def __post_init__(self) -> None:
        self.health = Health(turned=asyncio.get_running_loop().time())

    @property
    def name(self) -> str:
        role = "" if self.store.label == INSTANCE_LABEL else f"[{self.store.label}]"
        return f"{self.store.kind.plural}{role}/{self.namespace or '*'}"

    async def run(self) -> None:
        """Never returns; cancel it."""
        failures = 0
        while True:
            heard_before = self.health.heard
            error = await self._turn()
            if self.health.heard != heard_before:
                failures = 0
            if error is None:
                continue
            # A namespace that stays forbidden has a line every 5 minutes, not one every 10 s for each of its watches.
            repeated = self.error is not None and str(error) == str(self.error) and failures % REPEATED_LINE != 0
            level = logging.DEBUG if repeated else logging.WARNING
            self.error = error
            pause = RETRY.delay_s(failures)
            failures += 1
            log.log(level, "watch %s: %s; again in %.1f s", self.name, error, pause)
            await asyncio.sleep(with_jitter(max(pause, _retry_after(error)), self.rand))

    async def _turn(self) -> KubeError | None:
        """One list if needed, then one watch request. The error that ended it, or None."""
        self.health.turned = self._now()
        try:
            if self._version is None or self._now() >= self._list_at:
                await self._list()
            await self._watch()
        except Expired as error:
            self._version = None
            return error
        except KubeError as error:
            return error
        return None

    async def _list(self) -> None:
        places: set[Place] = set()
        version = ""
        pages = self.client.pages(self.store.kind, self.namespace, label_selector=self.label_selector)
        async for page in pages:
            self.health.turned = self._now()
            places.update(self.store.put(obj) for obj in page.items)
            version = page.version
        self.store.keep(places, version, self.namespace)
        self._version = version
        self._list_at = self._now() + with_jitter(RELIST_S, self.rand)
        self._hear()
        self.synced.set()

    async def _watch(self) -> None:
        assert self._version is not None
        lines = self.client.watch(
            self.store.kind,
            self.namespace,
            label_selector=self.label_selector,
            since=self._version,
            server_s=WATCH_S,
        )
        async for line in lines:
            self._hear()
            if line:
                self._handle(line)

    def _handle(self, line: bytes) -> None:
        event = json.loads(line)
        obj: Object = event["object"]
        act: dict[str, Callable[[Object], object]] = {
            "ADDED": self.store.put,
            "MODIFIED": self.store.put,
            "DELETED": self.store.drop,
            "BOOKMARK": lambda _: None,
        }
        if event["type"] not in act:  # ERROR carries a Status
            raise from_status(obj.get("code", 500), f"watch {self.name}: {obj.get('message')}")
        act[event["type"]](obj)
        self._version = obj["metadata"]["resourceVersion"]

    def _hear(self) -> None:
        if self.error is not None:
            log.info("watch %s works again", self.name)
            self.error = None
        self.health.turned = self.health.heard = self._now()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _retry_after(error: KubeError) -> float:
    """Seconds of the Retry-After header, or 0."""
    return (error.after or 0.0) if isinstance(error, Retry) else 0.0
