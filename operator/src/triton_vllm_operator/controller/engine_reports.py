"""After the engine has started: what it got is read once for each run of a pod, and compared with the plan."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from triton_vllm_operator.api.conditions import Condition
from triton_vllm_operator.api.kinds import Key
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.backoff import Backoff
from triton_vllm_operator.controller.planning import Planned
from triton_vllm_operator.controller.probe import NoReport
from triton_vllm_operator.observed import engine_report
from triton_vllm_operator.observed.engine_report import Report
from triton_vllm_operator.observed.observation import Observation
from triton_vllm_operator.observed.pods import PodState
from triton_vllm_operator.plan import accuracy

log = logging.getLogger(__name__)

RETRY = Backoff(15.0, 600.0)  # after a failure the pod is asked again in 15, 30, 60, ... 600 s
_STOCK = "NVIDIA's image does not say what its engine got; its log does, in the line with 'KV cache size'."
_WAITS = "No pod of the newest configuration has answered with a token yet."


class Source(Protocol):
    """Where reports come from."""

    async def report(self, ip: str) -> bytes:
        """What the pod with this address says of its engine. Errors: NoReport."""


@dataclass(frozen=True, slots=True)
class ReadBack:
    """What is known of the engines.

    Attributes:
        condition: PlanAccurate.
        facts: status.actual, where there is one.
        after: seconds until a pod that did not answer is asked again.
    """

    condition: Condition
    facts: Mapping[str, Any] = field(default_factory=dict)
    after: float | None = None


@dataclass(frozen=True, slots=True)
class _Failed:
    """A pod did not answer. `again`: when it is asked again, in seconds of the event loop's clock; None for never."""

    why: NoReport
    again: float | None
    tries: int


@dataclass
class Reader:
    """Its only state is what each run of a pod has said; after a restart of the operator, what status.actual says."""

    source: Source
    _said: dict[Key, dict[str, Report | _Failed]] = field(default_factory=dict)

    def forget(self, key: Key) -> None:
        """The LLMDeployment has gone."""
        self._said.pop(key, None)

    async def __call__(
        self, key: Key, seen: Observation, planned: Planned, before: Mapping[str, Any], *, stock: bool
    ) -> ReadBack:
        """What the engines of the newest configuration got, beside the plan.

        Args:
            before: status.actual as read.
            stock: the serving image is NVIDIA's, which has no report.
        """
        if stock:
            return ReadBack(accuracy.unknown(Reason.REPORT_NOT_SERVED, _STOCK))
        said = self._remembered(key, seen, before)
        now = asyncio.get_running_loop().time()
        asked = [pod for pod in seen.proven_pods if pod in seen.current_pods and _is_due(said.get(pod.run), now)]
        answers = await asyncio.gather(*(self._ask(pod, said.get(pod.run)) for pod in asked))
        said.update({pod.run: answer for pod, answer in zip(asked, answers, strict=True)})
        return _told(seen.current_pods, said, planned, str(before.get("pod", "")))

    def _remembered(self, key: Key, seen: Observation, before: Mapping[str, Any]) -> dict[str, Report | _Failed]:
        """What the live runs of the newest configuration have said."""
        said = self._said.get(key)
        if said is None:
            found = engine_report.recorded(before)
            mine = (pod for pod in seen.current_pods if (pod.name, pod.restarts) == _speaker(before))
            said = {pod.run: found for pod in mine} if found is not None else {}
        alive = {pod.run for pod in seen.current_pods}
        self._said[key] = {run: one for run, one in said.items() if run in alive}
        return self._said[key]

    async def _ask(self, pod: PodState, before: Report | _Failed | None) -> Report | _Failed:
        try:
            return engine_report.read(await self.source.report(pod.ip))
        except engine_report.Unreadable as error:
            why = NoReport(Reason.REPORT_UNREADABLE, str(error), final=True)
        except NoReport as error:
            why = error
        tries = before.tries + 1 if isinstance(before, _Failed) else 1
        log.warning("pod %s does not say what its engine got (try %d): %s", pod.name, tries, why.message)
        retry_at = asyncio.get_running_loop().time() + RETRY.delay_s(tries - 1)
        return _Failed(why, None if why.final else retry_at, tries)


def _speaker(before: Mapping[str, Any]) -> tuple[Any, Any]:
    return before.get("pod"), before.get("restarts")


def _is_due(said: Report | _Failed | None, now: float) -> bool:
    return said is None or (isinstance(said, _Failed) and said.again is not None and said.again <= now)


def _told(pods: list[PodState], said: Mapping[str, Report | _Failed], planned: Planned, preferred: str) -> ReadBack:
    by_name = {pod.name: pod for pod in pods}
    failed = {pod.name: one for pod in pods if isinstance(one := said.get(pod.run), _Failed)}
    now = asyncio.get_running_loop().time()
    after = min((max(one.again - now, 1.0) for one in failed.values() if one.again is not None), default=None)
    reports = [(pod.name, one) for pod in pods if isinstance(one := said.get(pod.run), Report)]
    found = engine_report.least(reports, preferred)
    if found is None and failed:
        name, first = min(failed.items())
        message = f"Pod {name} does not say what its engine got: {first.why.message}."
        return ReadBack(accuracy.unknown(first.why.reason, message), after=after)
    if found is None:
        return ReadBack(accuracy.unknown(Reason.NOT_SERVING, _WAITS))
    name, got = found
    condition = accuracy.condition(planned.facts.get("plan"), got, name, planned.llm, planned.shape)
    actual = {"pod": name, "restarts": by_name[name].restarts, **engine_report.to_status(got)}
    return ReadBack(condition, {"actual": actual}, after)
