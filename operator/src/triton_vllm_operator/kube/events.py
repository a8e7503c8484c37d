"""Events (events.k8s.io/v1) for `kubectl describe`: one per reason and message, repeats are counted."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import logging
from collections import OrderedDict
from dataclasses import dataclass

from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.kinds import Object
from triton_vllm_operator.api.names import FIELD_MANAGER
from triton_vllm_operator.kube.client import Client
from triton_vllm_operator.kube.errors import Conflict, KubeError, NotFound

log = logging.getLogger(__name__)

NOTE_LIMIT = 1000  # characters; the API server rejects more than 1,024
MAXIMUM_COUNTED = 4096  # events whose repeats are counted in memory
# The API server deletes events after an hour (--event-ttl). A repeat within this time is only counted, and written with
# the first repeat after it.
QUIET_S = 600.0


@dataclass
class _Seen:
    count: int
    written: float


class EventRecorder:
    """Posts events about LLMDeployments.

    The name of an event is a hash of its content, so that a restarted operator, or the next leader, continues its count
    instead of posting it again. A failure to post is logged and never fails the reconcile.
    """

    def __init__(self, client: Client, instance: str) -> None:
        self._client = client
        self._instance = instance
        self._seen: OrderedDict[str, _Seen] = OrderedDict()

    async def post(self, about: Object, *, kind: str, reason: str, action: str, note: str) -> None:
        """Post one event. `about`: the whole object; `kind`: Normal or Warning; `reason`, `action`: CamelCase."""
        event = _event(about, kind, reason, action, note[:NOTE_LIMIT], self._instance)
        name = event["metadata"]["name"]
        seen = self._seen.get(name)
        now = asyncio.get_running_loop().time()
        if seen is not None:
            seen.count += 1
            if now - seen.written < QUIET_S:
                return
        try:
            await self._write(event, seen)
        except KubeError as error:
            log.warning("event %s about %s was not posted: %s", reason, kinds.ref_of(about), error)
            return
        self._remember(name, _Seen(seen.count if seen else 1, now))

    async def _write(self, event: Object, seen: _Seen | None) -> None:
        if seen is None:
            try:
                await self._client.create(event)
            except Conflict:
                await self._update_count(event, 2)
            return
        try:
            await self._update_count(event, seen.count)
        except NotFound:  # it has expired
            await self._client.create(event)

    async def _update_count(self, event: Object, count: int) -> None:
        series = {"count": max(count, 2), "lastObservedTime": event["eventTime"]}
        await self._client.merge(kinds.ref_of(event), {"series": series})

    def _remember(self, name: str, seen: _Seen) -> None:
        self._seen[name] = seen
        self._seen.move_to_end(name)
        while len(self._seen) > MAXIMUM_COUNTED:
            self._seen.popitem(last=False)


def _event(about: Object, kind: str, reason: str, action: str, note: str, instance: str) -> Object:
    meta = about["metadata"]
    content = "\0".join((meta["uid"], kind, reason, action, note))
    return {
        "apiVersion": kinds.EVENT.api_version,
        "kind": kinds.EVENT.kind,
        "metadata": {
            "namespace": meta["namespace"],
            "name": f"{meta['name'][:200]}.{hashlib.sha256(content.encode()).hexdigest()[:16]}",
        },
        "eventTime": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": FIELD_MANAGER,
        "reportingInstance": instance[:128],
        "type": kind,
        "reason": reason,
        "action": action,
        "note": note,
        "regarding": {
            "apiVersion": about["apiVersion"],
            "kind": about["kind"],
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"],
        },
    }
