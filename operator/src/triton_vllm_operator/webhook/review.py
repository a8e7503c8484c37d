"""How a review is decided: by the functions of the reconcile, with what this process knows at that moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date

from triton_vllm_operator.api.kinds import Object
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.catalog.violations import Violation
from triton_vllm_operator.controller.manager import Cluster
from triton_vllm_operator.controller.planning import Planning
from triton_vllm_operator.controller.reconcile import Reconciler, allows_vulnerable_images
from triton_vllm_operator.kube.errors import KubeError
from triton_vllm_operator.plan.validation import Refusal, Wanted, understand
from triton_vllm_operator.webhook.handler import Change
from triton_vllm_operator.webhook.verdict import Verdict, matters, of_plan, of_refusal, ratcheted, verdict_of


@dataclass
class Reviewer:
    """The verdict on a change.

    Attributes:
        default_image, planning, clock: the reconciler's own.
    """

    default_image: str | None
    planning: Planning
    clock: Callable[[], str]

    @classmethod
    def like(cls, reconciler: Reconciler) -> Reviewer:
        """The one that says what this reconciler would say."""
        return cls(reconciler.default_image, reconciler.planning, reconciler.clock)

    async def __call__(self, cluster: Cluster, change: Change) -> Verdict:
        if not matters(change.new, change.old):
            return Verdict()
        wanted, problems = await self._problems(cluster, change.new)
        if change.old is not None and any(problem.rejects for problem in problems):
            _, before = await self._problems(cluster, change.old)
            problems = ratcheted(problems, change.new, before, change.old)
        if wanted is not None and not any(problem.rejects for problem in problems):
            problems = [*problems, *await self._plan(cluster, wanted, change)]
        return verdict_of(problems)

    async def _plan(self, cluster: Cluster, wanted: Wanted, change: Change) -> list[Violation]:
        """What the plan has to say; nothing where the nodes cannot be listed now."""
        status = (change.old or {}).get("status", {})
        try:
            foreseen = await self.planning.foresee(cluster, wanted, status)
        except KubeError:
            return []
        return of_plan(foreseen, status)

    async def _problems(self, cluster: Cluster, obj: Object) -> tuple[Wanted | None, list[Violation]]:
        """What is wrong with a spec. In a thread: an author may write as many arguments as the API server takes."""
        try:
            wanted = await asyncio.to_thread(understand, obj, self.default_image, date.fromisoformat(self.clock()[:10]))
        except Refusal as refusal:
            return None, [of_refusal(refusal)]
        try:
            opted_out = wanted.needs_opt_out and await allows_vulnerable_images(cluster, wanted.llm.namespace)
        except KubeError:
            return wanted, [_uncertain(problem) for problem in wanted.problems(opted_out=False)]
        return wanted, await asyncio.to_thread(wanted.problems, opted_out=opted_out)


def _uncertain(problem: Violation) -> Violation:
    """Whether the namespace allows the release could not be read, so it cannot refuse."""
    return replace(problem, rejects=problem.rejects and problem.reason != Reason.RELEASE_NEEDS_OPT_OUT)
