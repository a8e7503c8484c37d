"""Reconcile step: the number of pods of an LLMDeployment with spec.autoscaling.

Its pods are read in the background, and a decision that changes what the status says adds the key to the queue: a
reconcile waits for no pod, and none runs while nothing changes. The number is in `status.autoscaling` before the
Deployment is written, so that whichever write is the last before a crash, the next operator goes on with the same
number.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.kinds import Key, Object
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.catalog.violations import Violation
from triton_vllm_operator.controller.cluster import ClusterView
from triton_vllm_operator.controller.free_gpus import FreeGPUs
from triton_vllm_operator.controller.probe import Unreachable
from triton_vllm_operator.controller.ttl_cache import TTLCache
from triton_vllm_operator.desired import pod
from triton_vllm_operator.kube.errors import Forbidden, KubeError
from triton_vllm_operator.observed import engine_metrics, pods
from triton_vllm_operator.observed.engine_metrics import Load
from triton_vllm_operator.observed.gpu_shortage import GPUUse
from triton_vllm_operator.observed.pods import PodState
from triton_vllm_operator.plan import autoscaling, autoscaling_report
from triton_vllm_operator.plan.autoscaling import History, ScalingState
from triton_vllm_operator.plan.autoscaling_report import Scaling, Seen
from triton_vllm_operator.plan.rollout import StepKind
from triton_vllm_operator.plan.rollout_report import Rollout

log = logging.getLogger(__name__)

INTERVAL_S = 15.0
"""Seconds between two readings of a pod, as in the HorizontalPodAutoscaler."""
_SCALERS_KEPT_S = 60.0
_FORGOTTEN_S = 900.0
"""Without a reconcile for so long, another process does the work: every key is reconciled each 5 minutes."""
_RESERVED_FOR = "autoscaling"


class MetricsSource(Protocol):
    """Where the metrics of pods come from."""

    async def metrics(self, ip: str) -> bytes:
        """The text of a pod's metrics port. Raises Unreachable."""


@dataclass(slots=True)
class _Followed:
    """An LLMDeployment whose pods are read.

    Attributes:
        llm, rollout: as the last reconcile has seen them.
        reconciled_at: seconds.
        loads: the last reading by run of a pod.
        errors: why a pod could not be read, by run.
        pending: a number that was decided and is not reconciled yet.
    """

    llm: LLMDeployment
    rollout: Rollout
    reported: Scaling
    reconciled_at: float
    history: History
    loads: dict[str, Load] = field(default_factory=dict)
    values: dict[str, Mapping[str, float]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    pending: int | None = None
    task: asyncio.Task[None] | None = None


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Autoscaler:
    """Decides numbers of pods.

    Its only state is what it has read and decided within the windows of spec.autoscaling.behavior. After a restart the
    number of that moment counts as decided then, as in the HorizontalPodAutoscaler: it does not fall before the window
    for scaling down has passed.
    """

    source: MetricsSource
    gpus: FreeGPUs
    interval_s: float = INTERVAL_S
    clock: Callable[[], str] = _now
    rand: random.Random = field(default_factory=random.Random)
    _followed: dict[Key, _Followed] = field(default_factory=dict)
    _scalers: dict[str, TTLCache[Sequence[Object]]] = field(default_factory=dict)

    def forget(self, cluster: ClusterView, key: Key) -> None:
        """The LLMDeployment was deleted, or has no spec.autoscaling any more."""
        found = self._followed.pop(key, None)
        if found is not None and found.task is not None:
            found.task.cancel()
        self.gpus.release(key, _RESERVED_FOR)
        cluster.scaling.pop(key, None)

    def resume(self, cluster: ClusterView, llm: LLMDeployment) -> LLMDeployment:
        """The LLMDeployment with the number of pods of its Deployment, where its status has none."""
        deployment = cluster.running(llm).deployment
        if llm.spec.autoscaling is None or llm.scaled is not None or deployment is None:
            return llm
        return llm.with_scaled(int(deployment["spec"].get("replicas", 1)))

    def report(self, cluster: ClusterView, key: Key, obj: Object, rollout: Rollout, current: int) -> Scaling | None:
        """What the status says of autoscaling; None without it. A number that is new is applied by the next reconcile.

        Args:
            obj: the LLMDeployment as read.
            current: number of pods.
        """
        llm = rollout.llm
        if llm.spec.autoscaling is None:
            self.forget(cluster, key)
            return None
        followed = self._follow(cluster, key, obj, rollout)
        desired = followed.reported.status.desired_replicas
        if followed.pending is None or followed.pending == llm.replicas:
            followed.pending, desired = None, llm.replicas
        desired = llm.spec.autoscaling.within(desired)
        if desired != llm.replicas:
            cluster.wake(key)
        changes = {"desired_replicas": desired, "current_replicas": current}
        status = followed.reported.status.model_copy(update=changes)
        followed.reported = replace(followed.reported, status=status)
        condition = autoscaling_report.with_unused_replicas(followed.reported.condition, obj, desired)
        cluster.scaling[key] = (desired, condition.reason)
        return replace(followed.reported, condition=condition)

    async def warnings(self, cluster: ClusterView, llm: LLMDeployment, old: Object | None) -> list[Violation]:
        """What to warn of before a spec is stored. `old`: the object as it is stored now."""
        if llm.spec.autoscaling is None:
            return []
        before = (old or {}).get("spec") or {}
        found = []
        if before.get("autoscaling") and before.get("replicas", 1) != llm.spec.replicas:
            message = autoscaling_report.UNUSED_REPLICAS
            found.append(Violation("spec.replicas", Reason.AUTOSCALED_TWICE, message, rejects=False))
        if other := await self._other(cluster, llm):
            message = autoscaling_report.twice(other)
            found.append(Violation("spec.autoscaling", Reason.AUTOSCALED_TWICE, message, rejects=False))
        return found

    def _follow(self, cluster: ClusterView, key: Key, obj: Object, rollout: Rollout) -> _Followed:
        now = asyncio.get_running_loop().time()
        followed = self._followed.get(key)
        if followed is None:
            history = History().recommended(rollout.llm.replicas, now)
            first = autoscaling_report.first(rollout.llm, obj)
            followed = self._followed[key] = _Followed(rollout.llm, rollout, first, now, history)
        followed.llm, followed.rollout, followed.reconciled_at = rollout.llm, rollout, now
        if followed.task is None or followed.task.done():
            followed.task = cluster.probes.start(self._read_on(cluster, key, followed))
        return followed

    async def _read_on(self, cluster: ClusterView, key: Key, followed: _Followed) -> None:
        """Read the pods and decide, again and again."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self.rand.uniform(0.0, self.interval_s))  # after a restart not all at the same time
        while loop.time() - followed.reconciled_at < _FORGOTTEN_S:
            began = loop.time()
            live = pods.read_all(cluster.children(kinds.POD, key), pod.CONTAINER)
            await self._read(cluster, followed, _serving(live))
            try:
                await self._decide(cluster, key, followed, live)
            except KubeError as error:
                log.warning("%s/%s: no decision on the number of pods: %s", *key, error)
            await asyncio.sleep(max(self.interval_s - (loop.time() - began), 0.1))
        self.forget(cluster, key)

    async def _read(self, cluster: ClusterView, followed: _Followed, ready: Sequence[PodState]) -> None:
        """Read pods, all at the same time as far as the pool of requests allows it."""
        runs = {one.run for one in ready}
        followed.loads = {run: load for run, load in followed.loads.items() if run in runs}
        followed.values = {}
        followed.errors = {run: error for run, error in followed.errors.items() if run in runs}
        await asyncio.gather(*(self._read_one(cluster, followed, one) for one in ready))

    async def _read_one(self, cluster: ClusterView, followed: _Followed, one: PodState) -> None:
        async with cluster.probes.slot(again=one.run in followed.errors):
            try:
                text = await self.source.metrics(one.ip)
            except Unreachable as failed:
                if one.run not in followed.errors:
                    log.warning("pod %s: its metrics cannot be read: %s", one.name, failed)
                followed.errors[one.run] = str(failed)
                return
        load = engine_metrics.read(text, asyncio.get_running_loop().time())
        followed.values[one.run] = engine_metrics.by_target(load, followed.loads.get(one.run))
        followed.loads[one.run] = load
        followed.errors.pop(one.run, None)

    async def _decide(self, cluster: ClusterView, key: Key, followed: _Followed, live: Sequence[PodState]) -> None:
        """Decide, and have the LLMDeployment reconciled where that changes its status."""
        llm = followed.llm
        spec = llm.spec.autoscaling
        if spec is None:
            return
        ready = _serving(live)
        room, use = await self._room(cluster, followed)
        now = asyncio.get_running_loop().time()
        state = ScalingState(
            replicas=llm.replicas,
            pods=[followed.values.get(one.run, {}) for one in ready],
            loading=max(llm.replicas - len(ready), 0),
            spec=spec,
            history=followed.history,
            now=now,
            placed=_placed(live, use),
            room=room,
            replacing=not followed.rollout.settled,
        )
        decision = autoscaling.decide(state)
        if decision.by:
            followed.history = followed.history.recommended(decision.recommended, now)
        names = {one.run: one.name for one in ready}
        errors = {names[run]: why for run, why in followed.errors.items() if run in names}
        seen = Seen(len(ready), errors, use, await self._other(cluster, llm))
        found = autoscaling_report.report(llm, decision, seen, followed.reported, (now, self.clock()))
        if followed.llm is not llm:
            return  # reconciled meanwhile
        self._reserve(key, llm, decision.desired, live)
        if decision.desired != llm.replicas and followed.pending != decision.desired:
            log.info("%s/%s: %d pods should run instead of %d: %s", *key, decision.desired, llm.replicas, decision)
            followed.history = followed.history.changed(decision.desired - llm.replicas, now)
            followed.pending = decision.desired
        changed = found.differs(followed.reported)
        followed.reported = found
        if changed:
            cluster.wake(key)

    def _reserve(self, key: Key, llm: LLMDeployment, desired: int, live: Sequence[PodState]) -> None:
        """Count the GPUs of pods that are about to be created as taken."""
        coming = desired - _placed(live, None)
        if desired > llm.replicas:
            self.gpus.release(key, _RESERVED_FOR)
            self.gpus.reserve(key, _RESERVED_FOR, llm, max(coming, 0))
        elif coming <= 0:
            self.gpus.release(key, _RESERVED_FOR)

    async def _room(self, cluster: ClusterView, followed: _Followed) -> tuple[int | None, GPUUse | None]:
        """As `FreeGPUs.room`, without the GPU that a rollout's further pod is about to take."""
        room, use = await self.gpus.room(cluster, followed.llm)
        step = followed.rollout.step
        surges = step is not None and step.kind is StepKind.SURGING
        return (max(room - 1, 0) if surges and room is not None else room), use

    async def _other(self, cluster: ClusterView, llm: LLMDeployment) -> str:
        """Name of a HorizontalPodAutoscaler with the same target; "" for none, and where listing them is forbidden."""

        async def read(view: ClusterView) -> Sequence[Object]:
            try:
                return await view.client.list_all(kinds.HPA, llm.namespace)
            except Forbidden:
                return ()

        cache = self._scalers.setdefault(llm.namespace, TTLCache(read, _SCALERS_KEPT_S, _SCALERS_KEPT_S))
        return autoscaling_report.other_scaler(llm, await cache.get(cluster))


def _serving(live: Sequence[PodState]) -> list[PodState]:
    """The pods whose load counts. One that is being deleted gets no new requests."""
    return [one for one in live if one.ready and one.ip and not one.deleting]


def _placed(live: Sequence[PodState], use: GPUUse | None) -> int:
    """Pods that have GPUs and keep them. `use`: by these lists; None: by the watch."""
    if use is None:
        return sum(1 for one in live if one.node and not one.deleting)
    return max(use.own - sum(1 for one in live if one.node and one.deleting), 0)
