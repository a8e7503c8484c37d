"""Reconcile step: each ready pod is asked for one token, once per run of its container.

It is asked in the background until it answers, and the LLMDeployment is reconciled again when the answer changes: no
reconcile waits for a pod.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from contract import ports
from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.conditions import ConditionType, find
from triton_vllm_operator.api.kinds import Key, Object
from triton_vllm_operator.backoff import Backoff
from triton_vllm_operator.controller.cluster import ClusterView
from triton_vllm_operator.controller.probe import Unreachable
from triton_vllm_operator.desired import pod
from triton_vllm_operator.observed import needs, pods
from triton_vllm_operator.observed.observation import Observation
from triton_vllm_operator.observed.pods import PodState

log = logging.getLogger(__name__)

RETRY = Backoff(2.0, 60.0)
_ADVISED_AFTER = 3
"""Failed connections in a row until the message has advice: the first may be those of a pod that has just started."""
_ADVICE = (
    "Allow connections from the namespace of the operator to the "
    f"ports {ports.HTTP} and {ports.HEALTH} of the pods: in NetworkPolicies, "
    "and where a service mesh has mTLS in mode STRICT, for those ports."
)


class TokenProbe(Protocol):
    """Asks a pod for a token."""

    async def ask(self, ip: str, model: str) -> str:
        """The error, or "" where the pod has answered with a token."""


@dataclass(slots=True)
class _Asked:
    """A run of a pod that is asked in the background. `error`: its last answer; None before the first one."""

    pod: PodState
    task: asyncio.Task[None] | None = None
    error: str | None = None

    def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()


@dataclass
class Prober:
    """Its only state is which runs of pods have answered, and what the others have answered instead of a token."""

    probe: TokenProbe
    _answered: dict[Key, frozenset[str]] = field(default_factory=dict)
    _asked: dict[Key, dict[str, _Asked]] = field(default_factory=dict)

    def forget(self, cluster: ClusterView, key: Key) -> None:
        """The LLMDeployment was deleted."""
        self._answered.pop(key, None)
        for one in self._asked.pop(key, {}).values():
            one.stop()
        cluster.probes.unanswered.pop(key, None)

    def prove(self, cluster: ClusterView, key: Key, status: Mapping[str, Any], observation: Observation) -> Observation:
        """The observation with the pods' answers so far. `status`: of the LLMDeployment as read."""
        if key not in self._answered:
            live = cluster.children(kinds.POD, key)
            self._answered[key] = _answered_before(status, observation.llm.generation, live)
        runs = {one.run for one in observation.pods}
        self._answered[key] &= runs
        known = replace(observation, answers=dict.fromkeys(self._answered[key], ""))
        due = {one.run: one for one in needs.pods_to_prove(known)}
        asked = self._asked.setdefault(key, {})
        for run, one in list(asked.items()):
            if run not in due or due[run].ip != one.pod.ip:
                one.stop()
                del asked[run]
        for run in due.keys() - asked.keys():
            new = asked[run] = _Asked(due[run])
            new.task = cluster.probes.start(self._ask(cluster, key, new, observation.llm.model_name))
        errors = {run: one.error for run, one in asked.items() if one.error is not None}
        self._count(cluster, key)
        return replace(known, answers={**known.answers, **errors})

    async def _ask(self, cluster: ClusterView, key: Key, one: _Asked, model: str) -> None:
        """Ask one pod until it has answered with a token."""
        failures = unreachable = 0
        while True:
            async with cluster.probes.slot(again=failures > 0):
                try:
                    error, unreachable = await self.probe.ask(one.pod.ip, model), 0
                except Unreachable as failed:
                    unreachable += 1
                    error = f"{failed}. {_ADVICE}" if unreachable >= _ADVISED_AFTER else str(failed)
            changed, one.error = error != one.error, error
            if error == "":
                self._answered[key] = self._answered.get(key, frozenset()) | {one.pod.run}
                self._asked.get(key, {}).pop(one.pod.run, None)
            elif changed:
                log.warning("%s/%s: pod %s has not answered with a token: %s", *key, one.pod.name, error)
            if changed:
                self._count(cluster, key)
                cluster.wake(key)
            if error == "":
                return
            await asyncio.sleep(RETRY.delay_s(failures))
            failures += 1

    def _count(self, cluster: ClusterView, key: Key) -> None:
        count = sum(bool(one.error) for one in self._asked.get(key, {}).values())
        if count:
            cluster.probes.unanswered[key] = count
        else:
            cluster.probes.unanswered.pop(key, None)


def _answered_before(status: Mapping[str, Any], generation: int, live: list[Object]) -> frozenset[str]:
    """Runs that had answered before the operator restarted: their pods were ready when Ready became true."""
    ready = find(status.get("conditions", []), ConditionType.READY) or {}
    if ready.get("status") != "True" or ready.get("observedGeneration") != generation:
        return frozenset()
    states = [(obj, pods.read(obj, pod.CONTAINER)) for obj in live]
    return frozenset(state.run for obj, state in states if _ready_since(obj) <= ready["lastTransitionTime"])


def _ready_since(obj: Object) -> str:
    """RFC 3339 time since which a pod is ready; later than any time while it is not."""
    conditions = obj.get("status", {}).get("conditions", [])
    ready = find(conditions, ConditionType.READY)
    return str(ready["lastTransitionTime"]) if ready is not None and ready["status"] == "True" else "~"
