"""How an admission request is decided: by the functions of the reconcile, with what this process knows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from triton_vllm_operator.api.kinds import Object
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.catalog.violations import Violation
from triton_vllm_operator.kube.errors import KubeError
from triton_vllm_operator.plan.validation import Rejected, ValidatedSpec, validate
from triton_vllm_operator.plan.verdict import PredictedPlan
from triton_vllm_operator.webhook.handler import Change
from triton_vllm_operator.webhook.response import (
    AdmissionResponse,
    changes_spec,
    problem_of_rejected,
    problems_of_plan,
    ratcheted,
    response_of,
)

Review = Callable[[Change], Awaitable[AdmissionResponse]]


@dataclass(frozen=True, slots=True)
class Reviewer:
    """Reviews changes of LLMDeployments. It keeps no state.

    Attributes:
        serving_image: of a spec that sets none; None for NVIDIA's newest release.
        today: by which advisories are judged.
        opted_out: whether a namespace accepts releases with known vulnerabilities.
        predict: the plan of a spec, given the status of the object before the change.
        held: why the rollout of a spec would wait, given the object and its status before the change; None: it would
            not.
        scaled: what else scales the pods beside spec.autoscaling, given the object before the change.
    """

    serving_image: str | None
    today: Callable[[], date]
    opted_out: Callable[[str], Awaitable[bool]]
    predict: Callable[[ValidatedSpec, Mapping[str, Any]], Awaitable[PredictedPlan | None]]
    held: Callable[[Object, ValidatedSpec, Mapping[str, Any]], Awaitable[str | None]]
    scaled: Callable[[LLMDeployment, Object | None], Awaitable[list[Violation]]]

    async def review(self, change: Change) -> AdmissionResponse:
        """The response to a change."""
        if not changes_spec(change.new, change.old):
            return AdmissionResponse()
        spec, problems = await self._problems(change.new)
        if change.old is not None and any(problem.rejects for problem in problems):
            _, before = await self._problems(change.old)
            problems = ratcheted(problems, change.new, before, change.old)
        if spec is not None and not any(problem.rejects for problem in problems):
            status = (change.old or {}).get("status", {})
            problems = [*problems, *await self._plan_problems(spec, status)]
            if change.old is not None and not any(problem.rejects for problem in problems):
                problems = [*problems, *await self._rollout_problems(change.new, spec, status)]
            problems = [*problems, *await self._scaling_problems(spec, change.old)]
        return response_of(problems)

    async def _plan_problems(self, spec: ValidatedSpec, status: Mapping[str, Any]) -> list[Violation]:
        """The problems of the plan; none where the nodes cannot be listed now."""
        try:
            return problems_of_plan(await self.predict(spec, status), status)
        except KubeError:
            return []

    async def _rollout_problems(self, obj: Object, spec: ValidatedSpec, status: Mapping[str, Any]) -> list[Violation]:
        """A warning where the rollout would wait; none where the nodes cannot be listed now."""
        try:
            held = await self.held(obj, spec, status)
        except KubeError:
            return []
        return [Violation("spec.rollout", Reason.ROLLOUT_HELD, held, rejects=False)] if held else []

    async def _scaling_problems(self, spec: ValidatedSpec, old: Object | None) -> list[Violation]:
        """Warnings about what else scales the pods; none where HorizontalPodAutoscalers cannot be listed now."""
        try:
            return await self.scaled(spec.llm, old)
        except KubeError:
            return []

    async def _problems(self, obj: Object) -> tuple[ValidatedSpec | None, list[Violation]]:
        """The problems of a spec. In a thread: there may be as many arguments as the API server accepts."""
        try:
            spec = await asyncio.to_thread(validate, obj, self.serving_image, self.today())
        except Rejected as rejected:
            return None, [problem_of_rejected(rejected)]
        try:
            opted_out = spec.needs_opt_out and await self.opted_out(spec.llm.namespace)
        except KubeError:
            return spec, [_without_opt_out(problem) for problem in spec.problems(opted_out=False)]
        return spec, await asyncio.to_thread(spec.problems, opted_out=opted_out)


def _without_opt_out(problem: Violation) -> Violation:
    """Whether the namespace allows the release could not be read, so that cannot reject."""
    return replace(problem, rejects=problem.rejects and problem.reason != Reason.RELEASE_NEEDS_OPT_OUT)
