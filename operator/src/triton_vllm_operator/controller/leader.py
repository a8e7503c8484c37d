"""Leader election: a Lease that is acquired, renewed and released, and the fence that every write passes.

Not `kubernetes.aio.leaderelection`: it measures with the wall clock (a clock jump gives two leaders), continues
with the old work until a renewal *fails* (a stopped process writes when it resumes) and never releases the lease.

Why there are never two writers. Call T the moment a holder *sent* its last successful renewal, on its own clock that
runs on while the process or the machine sleeps.
* The holder sends a write only until T + `fence_s`, and the request times out `WRITE_S` later.
* A candidate takes the lease only after it has watched it unchanged for `lease_s` on its own clock, and the change
  that it saw last was made after T. Since `fence_s + WRITE_S <= lease_s`, the old holder is silent by then.
Wall clock times are written into the Lease for users and are never read.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.kinds import Object
from triton_vllm_operator.backoff import with_jitter
from triton_vllm_operator.kube.client import WRITE_S, Client
from triton_vllm_operator.kube.errors import Conflict, KubeError, NotLeader

log = logging.getLogger(__name__)


def boot_clock() -> float:
    """Seconds since boot, including suspended time: CLOCK_MONOTONIC stops while a machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class LeaseSettings:
    """Takeover after a kill takes a maximum of `lease_s + retry_s` and one request, 17 s."""

    namespace: str
    name: str = "triton-vllm-operator"
    lease_s: float = 15.0
    fence_s: float = 9.0
    retry_s: float = 1.5

    def __post_init__(self) -> None:
        if self.fence_s + WRITE_S > self.lease_s:
            raise ValueError(f"fence_s + {WRITE_S} must not exceed lease_s, or two operators could write at once")


@dataclass
class Leader:
    """A candidate, and the holder while `leading`."""

    client: Client
    settings: LeaseSettings
    identity: str
    clock: Callable[[], float] = boot_clock
    rand: random.Random = field(default_factory=random.Random)
    _sent: float | None = None  # when our last successful renewal was sent; None while we do not hold the lease
    _seen: tuple[str, float] | None = None  # (resourceVersion of the Lease, when we first saw that version)

    @property
    def leading(self) -> bool:
        """Whether this process may write."""
        return self._sent is not None and self.clock() < self._sent + self.settings.fence_s

    def check(self) -> None:
        """The fence. Raises `NotLeader` unless the lease was renewed within `fence_s`."""
        if not self.leading:
            raise NotLeader("another operator may hold the lease: nothing was written")

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Acquire, run `lead` while the lease holds, cancel it when not, and start over. Cancel to release."""
        try:
            while True:
                await self._acquire()
                log.info("leading as %s", self.identity)
                await self._hold(lead)
                log.warning("no longer leading: the lease could not be renewed in time")
        finally:
            await self._release()

    async def _acquire(self) -> None:
        while True:
            if await self._acquire_or_renew():
                return
            await asyncio.sleep(with_jitter(self.settings.retry_s, self.rand))

    async def _hold(self, lead: Callable[[], Awaitable[None]]) -> None:
        task = asyncio.ensure_future(lead())
        try:
            while self.leading and not task.done():
                await asyncio.wait([task], timeout=self.settings.retry_s)
                await self._acquire_or_renew()
        finally:
            task.cancel()
            await asyncio.wait([task])
        if not task.cancelled():
            task.result()  # raises what ended it

    async def _acquire_or_renew(self) -> bool:
        """Try once to acquire or renew. A failure is logged: the fence, not this answer, protects the writes."""
        sent = self.clock()
        try:
            async with asyncio.timeout(self.settings.fence_s / 2):
                held = await self._write_lease()
        except Conflict:
            held = False  # another candidate was faster
        except (KubeError, TimeoutError) as error:
            log.warning(
                "lease %s/%s: %s", self.settings.namespace, self.settings.name, error or "the request timed out"
            )
            return False
        self._sent = sent if held else None
        return held

    async def _write_lease(self) -> bool:
        """Create or update the Lease if it may be held; whether it is held now."""
        lease = await self.client.find(kinds.LEASE, self.settings.namespace, self.settings.name)
        if lease is None:
            await self.client.create(self._lease(None))
            return True
        holder = lease["spec"].get("holderIdentity") or ""
        if holder not in ("", self.identity) and not self._expired(lease):
            return False
        await self.client.update(self._lease(lease))
        return True

    def _expired(self, lease: Object) -> bool:
        """Whether the lease was seen unchanged for its whole duration, on our own clock."""
        version = lease["metadata"]["resourceVersion"]
        if self._seen is None or self._seen[0] != version:
            self._seen = (version, self.clock())
        duration = max(self.settings.lease_s, float(lease["spec"].get("leaseDurationSeconds", 0)))
        return self.clock() >= self._seen[1] + duration

    def _lease(self, old: Object | None) -> Object:
        """The Lease as held by us. The old resourceVersion in it makes the update fail if another one wrote since."""
        spec = dict(old["spec"]) if old else {}
        ours = spec.get("holderIdentity") == self.identity
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        taken = {} if ours else {"acquireTime": now, "leaseTransitions": spec.get("leaseTransitions", 0) + bool(old)}
        spec |= {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": int(self.settings.lease_s),
            "renewTime": now,
            **taken,
        }
        metadata = old["metadata"] if old else {"namespace": self.settings.namespace, "name": self.settings.name}
        return {"apiVersion": kinds.LEASE.api_version, "kind": kinds.LEASE.kind, "metadata": metadata, "spec": spec}

    async def _release(self) -> None:
        """Release the lease so that the next operator need not wait; after a failure it waits `lease_s`."""
        if self._sent is None:
            return
        self._sent = None
        with contextlib.suppress(TimeoutError):
            try:
                async with asyncio.timeout(WRITE_S / 2):
                    await self._empty()
                log.info("lease released")
            except KubeError as error:
                log.warning("the lease was not released: %s", error)

    async def _empty(self) -> None:
        lease = await self.client.get(kinds.LEASE, self.settings.namespace, self.settings.name)
        if lease["spec"].get("holderIdentity") == self.identity:
            await self.client.update(
                {**lease, "spec": {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}}
            )
