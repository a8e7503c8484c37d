"""Reconcile step: each pod that serves is asked once what its engine got, which is compared with the plan."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from triton_vllm_operator.api.conditions import Condition
from triton_vllm_operator.api.kinds import Key
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.status import ActualStatus
from triton_vllm_operator.backoff import Backoff
from triton_vllm_operator.controller.cluster import ClusterView
from triton_vllm_operator.controller.probe import NoReport
from triton_vllm_operator.controller.steps.plan import Planned
from triton_vllm_operator.observed import engine_report
from triton_vllm_operator.observed.engine_report import Report
from triton_vllm_operator.observed.observation import Observation
from triton_vllm_operator.observed.pods import PodState
from triton_vllm_operator.plan import accuracy

log = logging.getLogger(__name__)

RETRY = Backoff(15.0, 600.0)
_STOCK = "NVIDIA's image serves no report of its engine. Its log has the size, in the line with 'KV cache size'."
_PENDING = "The report of the engine is being read."
_NOT_SERVING = "No pod of the newest configuration has answered with a token yet."


class ReportSource(Protocol):
    """Where the reports of engines come from."""

    async def report(self, ip: str) -> bytes:
        """The report of the pod with this address. Raises NoReport."""


@dataclass(frozen=True, slots=True)
class ReadBack:
    """What is known of the engines.

    Attributes:
        condition: PlanAccurate.
        actual: `status.actual`, if there is one.
        after: seconds until a pod without a report is asked again.
    """

    condition: Condition
    actual: ActualStatus | None = None
    after: float | None = None


NOT_COMPARED = ReadBack(accuracy.unknown(Reason.NOT_SERVING, _NOT_SERVING))
"""While no pod of the spec's revision serves."""


@dataclass(frozen=True, slots=True)
class _Failed:
    """A pod returned no report. `retry_at`: seconds of the event loop's clock; None for never."""

    error: NoReport
    retry_at: float | None
    tries: int


@dataclass
class EngineReports:
    """Reads the reports of engines.

    Its only state is the report of each run of a container; after a restart of the operator, that in `status.actual`.
    """

    source: ReportSource
    _reports: dict[Key, dict[str, Report | _Failed]] = field(default_factory=dict)
    _running: set[str] = field(default_factory=set)  # runs of pods that are being asked

    def forget(self, key: Key) -> None:
        """The LLMDeployment was deleted."""
        self._reports.pop(key, None)

    def read(
        self,
        cluster: ClusterView,
        key: Key,
        observation: Observation,
        planned: Planned,
        before: Mapping[str, Any],
        *,
        stock: bool,
    ) -> ReadBack:
        """The reports of the newest configuration's pods, as far as they are known, compared with the plan.

        Pods are asked in the background; the LLMDeployment is reconciled again when one has answered or failed.

        Args:
            before: `status.actual` as read.
            stock: the serving image is NVIDIA's, which serves no report.
        """
        if stock:
            return ReadBack(accuracy.unknown(Reason.REPORT_NOT_SERVED, _STOCK))
        reports = self._known(key, observation, before)
        now = asyncio.get_running_loop().time()
        current = observation.current_pods
        due = [pod for pod in observation.proven_pods if pod in current and _is_due(reports.get(pod.run), now)]
        for pod in due:
            if pod.run not in self._running:
                self._running.add(pod.run)
                cluster.probes.start(self._update(cluster, key, pod, reports.get(pod.run)))
        reading = any(pod.run in self._running for pod in current)
        return _read_back(current, reports, planned, str(before.get("pod", "")), reading=reading)

    async def _update(self, cluster: ClusterView, key: Key, pod: PodState, before: Report | _Failed | None) -> None:
        """Ask one pod, keep what it answers, and reconcile again."""
        try:
            async with cluster.probes.slot(again=before is not None):
                answer = await self._ask(pod, before)
        finally:
            self._running.discard(pod.run)
        if key in self._reports:
            self._reports[key][pod.run] = answer
            cluster.wake(key)

    def _known(self, key: Key, observation: Observation, before: Mapping[str, Any]) -> dict[str, Report | _Failed]:
        """The reports of the live runs of the newest configuration."""
        reports = self._reports.get(key)
        if reports is None:
            recorded = engine_report.recorded(before)
            source = before.get("pod"), before.get("restarts")
            same = (pod for pod in observation.current_pods if (pod.name, pod.server.restarts) == source)
            reports = {pod.run: recorded for pod in same} if recorded is not None else {}
        live = {pod.run for pod in observation.current_pods}
        self._reports[key] = {run: report for run, report in reports.items() if run in live}
        return self._reports[key]

    async def _ask(self, pod: PodState, before: Report | _Failed | None) -> Report | _Failed:
        try:
            return engine_report.read(await self.source.report(pod.ip))
        except engine_report.Unreadable as invalid:
            error = NoReport(Reason.REPORT_UNREADABLE, str(invalid), final=True)
        except NoReport as none:
            error = none
        tries = before.tries + 1 if isinstance(before, _Failed) else 1
        log.warning("pod %s: no report of its engine (try %d): %s", pod.name, tries, error.message)
        retry_at = asyncio.get_running_loop().time() + RETRY.delay_s(tries - 1)
        return _Failed(error, None if error.final else retry_at, tries)


def _is_due(report: Report | _Failed | None, now: float) -> bool:
    return report is None or (isinstance(report, _Failed) and report.retry_at is not None and report.retry_at <= now)


def _read_back(
    pods: list[PodState], reports: Mapping[str, Report | _Failed], planned: Planned, preferred: str, *, reading: bool
) -> ReadBack:
    """Compare what is known with the plan.

    Args:
        preferred: the pod that `status.actual` shows; it stays where several pods have as little.
        reading: a pod is being asked.
    """
    by_name = {pod.name: pod for pod in pods}
    failed = {pod.name: one for pod in pods if isinstance(one := reports.get(pod.run), _Failed)}
    now = asyncio.get_running_loop().time()
    after = min((max(one.retry_at - now, 1.0) for one in failed.values() if one.retry_at is not None), default=None)
    found = [(pod.name, one) for pod in pods if isinstance(one := reports.get(pod.run), Report)]
    least = engine_report.least(found, preferred)
    if least is None and failed:
        name, first = min(failed.items())
        message = f"There is no report of the engine of pod {name}: {first.error.message}."
        return ReadBack(accuracy.unknown(first.error.reason, message), after=after)
    if least is None and reading:
        return ReadBack(accuracy.unknown(Reason.REPORT_PENDING, _PENDING))
    if least is None:
        return ReadBack(accuracy.unknown(Reason.NOT_SERVING, _NOT_SERVING))
    name, report = least
    condition = accuracy.condition(planned.status.plan, report, name, planned.llm, planned.shape)
    return ReadBack(condition, engine_report.to_status(report, by_name[name]), after)
