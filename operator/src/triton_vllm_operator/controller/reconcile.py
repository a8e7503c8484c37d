"""One reconcile of one LLMDeployment, as a sequence of steps. Every write may be the last before a crash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Protocol

from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.kinds import Key, Object
from triton_vllm_operator.controller import ttl_cache
from triton_vllm_operator.controller.cluster import ClusterView
from triton_vllm_operator.controller.free_gpus import FreeGPUs
from triton_vllm_operator.controller.queue import Result
from triton_vllm_operator.controller.steps import report
from triton_vllm_operator.controller.steps.adopt import adopt_children
from triton_vllm_operator.controller.steps.apply import apply_children
from triton_vllm_operator.controller.steps.autoscale import INTERVAL_S, Autoscaler, MetricsSource
from triton_vllm_operator.controller.steps.claim import Claims
from triton_vllm_operator.controller.steps.inspect import Inspector
from triton_vllm_operator.controller.steps.observe import Observer
from triton_vllm_operator.controller.steps.plan import Planner
from triton_vllm_operator.controller.steps.probe import Prober, TokenProbe
from triton_vllm_operator.controller.steps.read_back import NOT_COMPARED, EngineReports, ReportSource
from triton_vllm_operator.controller.steps.rollout import Rollouts
from triton_vllm_operator.controller.steps.validate import validate
from triton_vllm_operator.desired.pod_settings import PodSettings
from triton_vllm_operator.kube.errors import NotLeader
from triton_vllm_operator.observed import claims
from triton_vllm_operator.observed.claims import TAKEOVER_S
from triton_vllm_operator.plan.validation import Rejected

REPORTED_AFTER = 3
"""Failures in a row until the status has the error: the first two are often a conflict or a restart of the server."""


class Probe(TokenProbe, ReportSource, MetricsSource, Protocol):
    """Asks a pod for a token, for its engine's report and for its metrics."""


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Reconciler:
    """Brings LLMDeployments forward.

    Its only state is what can be read again: answers of pods, lists of nodes and pods, shapes of models; and how often
    in a row, and since when, one LLMDeployment has failed.

    Attributes:
        clock: RFC 3339 time.
    """

    settings: PodSettings
    inspector: Inspector
    planner: Planner
    observer: Observer
    rollouts: Rollouts
    autoscaler: Autoscaler
    prober: Prober
    engine_reports: EngineReports
    claims: Claims = field(default_factory=Claims)
    clock: Callable[[], str] = _now
    _failures: dict[Key, tuple[int, str]] = field(default_factory=dict)  # how often in a row, and since when

    @classmethod
    def make(
        cls,
        probe: Probe,
        settings: PodSettings | None = None,
        clock: Callable[[], str] = _now,
        takeover_s: float = TAKEOVER_S,
        autoscaling_s: float = INTERVAL_S,
    ) -> Reconciler:
        """The reconciler with its steps; those that need the nodes share one list of them."""
        settings, nodes = settings or PodSettings(), ttl_cache.nodes()
        observer = Observer(nodes)
        gpus = FreeGPUs(observer)
        return cls(
            settings,
            inspector=Inspector(settings),
            planner=Planner(settings, nodes),
            observer=observer,
            rollouts=Rollouts(gpus, settings.defaults, settings.serving_image),
            autoscaler=Autoscaler(probe, gpus, autoscaling_s, clock),
            prober=Prober(probe),
            engine_reports=EngineReports(probe),
            claims=Claims(takeover_s),
            clock=clock,
        )

    def today(self) -> date:
        """The date, by which advisories are judged."""
        return date.fromisoformat(self.clock()[:10])

    async def reconcile(self, cluster: ClusterView, key: Key) -> Result:
        """Bring one LLMDeployment forward and write its status. An error that persists is written there too.

        Raises:
            Exception: what made it fail; the queue tries again.
        """
        obj = await cluster.client.find(kinds.LLM_DEPLOYMENT, key.namespace, key.name)
        if obj is None or "deletionTimestamp" in obj["metadata"]:
            self._forget(cluster, key)  # Kubernetes deletes the children, by their owner references
            return Result("Gone", gone=obj is None)
        try:
            turn, obj = await self.claims.claim(cluster, key, obj, self.clock())
            if not turn.mine:
                self._stop(cluster, key)
                return Result("Claimed", after=turn.after)
            result = await self._reconcile(cluster, key, obj)
        except NotLeader:
            raise
        except Exception as error:
            count, since = self._failures.get(key, (0, self.clock()))
            self._failures[key] = (count + 1, since)
            if count + 1 >= REPORTED_AFTER and not claims.is_of_another(obj.get("status", {}), cluster.operator):
                await report.report_error(cluster, obj, error, self.clock(), since)
            raise
        self._failures.pop(key, None)
        return result

    async def _reconcile(self, cluster: ClusterView, key: Key, obj: Object) -> Result:
        status = obj.get("status", {})
        cluster.check_listed(key.namespace)
        await adopt_children(cluster, obj)
        try:
            spec, advisory = await validate(cluster, obj, self.settings.serving_image, self.today())
            model = await self.inspector.inspect(cluster, spec.llm, status)
            planned = await self.planner.plan(cluster, spec, status, model)
            if planned.hold is not None:
                return await report.report_held(cluster, obj, planned, advisory, self.clock())
            planned = replace(planned, llm=self.autoscaler.resume(cluster, planned.llm))
            decided = await self.rollouts.decide(cluster, obj, spec, planned.llm, self.today(), self.clock())
            await apply_children(cluster, obj, planned.llm, decided.desired, self.clock())
            await self.rollouts.prune(cluster, planned.llm, decided)
        except Rejected as rejected:
            return await report.report_rejected(cluster, obj, rejected, self.clock())
        rollout = decided.rollout
        observed = await self.observer.observe(cluster, rollout.llm, self.clock())
        observed = replace(observed, templates=decided.templates, stopped=rollout.stopped())
        proven = self.prober.prove(cluster, key, status, observed)
        await self.rollouts.record(cluster, rollout, proven, self.clock())
        if rollout.undone:
            read_back = NOT_COMPARED
        else:
            actual = status.get("actual", {})
            read_back = self.engine_reports.read(cluster, key, proven, planned, actual, stock=spec.image.stock)
        scaling = self.autoscaler.report(cluster, key, obj, rollout, len(observed.live_pods))
        deployed = report.Deployed(decided.image, rollout, scaling)
        return await report.report_observed(cluster, obj, deployed, proven, advisory, planned, read_back, self.clock())

    def _forget(self, cluster: ClusterView, key: Key) -> None:
        self.claims.forget(cluster, key)
        self._stop(cluster, key)

    def _stop(self, cluster: ClusterView, key: Key) -> None:
        self._failures.pop(key, None)
        self.prober.forget(cluster, key)
        self.engine_reports.forget(key)
        self.rollouts.forget(key)
        self.autoscaler.forget(cluster, key)
