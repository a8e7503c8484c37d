"""Leader election on a clock of its own: who may write, and when another one may."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.fake import clock
from triton_vllm_operator.api.kinds import Kind, Object
from triton_vllm_operator.controller.leader import Leader, LeaseSettings
from triton_vllm_operator.kube.client import WRITE_S
from triton_vllm_operator.kube.errors import Conflict, NotFound, NotLeader, Retry

SETTINGS = LeaseSettings("operators")


class Leases:
    """An API server with one Lease, which compares resourceVersions. `down`: it answers no request."""

    def __init__(self) -> None:
        self.lease: Object | None = None
        self.version = 0
        self.down = False

    async def find(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        self._answer()
        return copy.deepcopy(self.lease)

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object:
        found = await self.find(kind, namespace, name)
        if found is None:
            raise NotFound("no lease")
        return found

    async def create(self, obj: Object) -> Object:
        self._answer()
        if self.lease is not None:
            raise Conflict("the lease exists")
        return self._store(obj)

    async def update(self, obj: Object) -> Object:
        self._answer()
        assert self.lease is not None
        if obj["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise Conflict("the lease was changed")
        return self._store(obj)

    @property
    def holder(self) -> str:
        return str((self.lease or {}).get("spec", {}).get("holderIdentity", ""))

    def touch(self, **spec: Any) -> None:
        """A write by the holder."""
        assert self.lease is not None
        self._store({**self.lease, "spec": {**self.lease["spec"], **spec}})

    def _store(self, obj: Object) -> Object:
        self.version += 1
        self.lease = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.version)}}
        return self.lease

    def _answer(self) -> None:
        if self.down:
            raise Retry("no answer")


class Candidate:
    """An operator with a Leader on the event loop's clock; `led`: the times at which it began to lead."""

    def __init__(self, api: Leases, identity: str = "a") -> None:
        self.leader = Leader(api, SETTINGS, identity, clock=_now)  # type: ignore[arg-type]
        self.led: list[float] = []
        self.task = asyncio.ensure_future(self.leader.run(self._lead))

    async def _lead(self) -> None:
        self.led.append(_now())
        await asyncio.Event().wait()

    async def stop(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


def _now() -> float:
    return asyncio.get_running_loop().time()


def on_clock(work: Callable[[Leases], Any]) -> None:
    async def run() -> None:
        await work(Leases())

    clock.run(run())


def test_the_first_candidate_makes_the_lease_leads_and_renews_it() -> None:
    async def work(api: Leases) -> None:
        one = Candidate(api)
        await asyncio.sleep(60)
        assert one.led == [0.0]
        assert (api.holder, one.leader.leading) == ("a", True)
        assert api.version > 60 / SETTINGS.retry_s - 2, "it was renewed all the time"
        one.leader.check()
        await one.stop()

    on_clock(work)


def test_a_candidate_waits_while_the_lease_changes_and_takes_it_once_it_stood_still_for_its_duration() -> None:
    async def work(api: Leases) -> None:
        holder = Candidate(api, "a")
        await asyncio.sleep(1)
        other = Candidate(api, "b")
        await asyncio.sleep(60)
        assert other.led == []
        holder.task.cancel()
        api.down = True  # so that it is not released either, as after a kill
        with contextlib.suppress(asyncio.CancelledError):
            await holder.task
        api.down = False
        killed = _now()
        await asyncio.sleep(60)
        assert len(other.led) == 1
        assert SETTINGS.lease_s - SETTINGS.retry_s <= other.led[0] - killed <= SETTINGS.lease_s + 2 * SETTINGS.retry_s
        await other.stop()

    on_clock(work)


def test_times_in_the_lease_are_never_read() -> None:
    async def work(api: Leases) -> None:
        await api.create({"metadata": {}, "spec": {"holderIdentity": "other", "renewTime": "1970-01-01T00:00:00.0Z"}})
        one = Candidate(api)
        for _ in range(30):
            await asyncio.sleep(2)
            api.touch(renewTime="1970-01-01T00:00:00.0Z")
        assert one.led == [], "its holder writes, whatever its wall clock shows"
        await one.stop()

    on_clock(work)


def test_a_longer_duration_in_the_lease_is_waited_for() -> None:
    async def work(api: Leases) -> None:
        await api.create({"metadata": {}, "spec": {"holderIdentity": "other", "leaseDurationSeconds": 100}})
        one = Candidate(api)
        await asyncio.sleep(99)
        assert one.led == []
        await asyncio.sleep(10)
        assert len(one.led) == 1
        await one.stop()

    on_clock(work)


def test_the_fence_closes_before_another_one_may_lead_and_opens_again() -> None:
    async def work(api: Leases) -> None:
        one = Candidate(api)
        await asyncio.sleep(10)
        api.down = True
        await asyncio.sleep(SETTINGS.fence_s - 2 * SETTINGS.retry_s)
        assert one.leader.leading
        await asyncio.sleep(2 * SETTINGS.retry_s)
        assert not one.leader.leading
        with pytest.raises(NotLeader):
            one.leader.check()
        await asyncio.sleep(30)
        api.down = False
        await asyncio.sleep(5)
        assert len(one.led) == 2, "the work was ended and begun again"
        one.leader.check()
        await one.stop()

    on_clock(work)


def test_one_failed_renewal_stops_nothing() -> None:
    async def work(api: Leases) -> None:
        one = Candidate(api)
        await asyncio.sleep(10)
        api.down = True
        await asyncio.sleep(4)
        api.down = False
        await asyncio.sleep(20)
        assert one.led == [0.0]
        one.leader.check()
        await one.stop()

    on_clock(work)


def test_a_lease_that_another_one_took_ends_the_work_at_once() -> None:
    async def work(api: Leases) -> None:
        one = Candidate(api)
        await asyncio.sleep(10)
        api.touch(holderIdentity="b")
        await asyncio.sleep(2 * SETTINGS.retry_s)
        assert not one.leader.leading
        assert api.holder == "b"
        await one.stop()
        assert api.holder == "b", "what another one holds is not released"

    on_clock(work)


def test_a_clean_stop_releases_the_lease_and_the_next_one_need_not_wait() -> None:
    async def work(api: Leases) -> None:
        one = Candidate(api, "a")
        await asyncio.sleep(10)
        other = Candidate(api, "b")
        await asyncio.sleep(1)
        await one.stop()
        assert (api.holder, one.leader.leading) == ("", False)
        stopped = _now()
        await asyncio.sleep(5)
        assert other.led[0] - stopped <= SETTINGS.retry_s * 1.2
        assert (api.lease or {})["spec"]["leaseTransitions"] == 1
        await other.stop()

    on_clock(work)


def test_settings_with_which_two_could_write_at_once_are_rejected() -> None:
    LeaseSettings("operators", lease_s=15.0, fence_s=15.0 - WRITE_S)
    with pytest.raises(ValueError, match="two operators could write at once"):
        LeaseSettings("operators", lease_s=15.0, fence_s=15.1 - WRITE_S)
