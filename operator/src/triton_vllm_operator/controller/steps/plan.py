"""Reconcile step: what the spec leaves open is configured, and the model is planned for the GPUs of the nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from triton_vllm_operator.api.autoconfig import AutoConfig
from triton_vllm_operator.api.conditions import Condition
from triton_vllm_operator.api.kinds import Object
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.api.status import LLMDeploymentStatus
from triton_vllm_operator.capacity import ModelShape
from triton_vllm_operator.controller import ttl_cache
from triton_vllm_operator.controller.cluster import ClusterView
from triton_vllm_operator.controller.shape_cache import ShapeCache
from triton_vllm_operator.controller.ttl_cache import TTLCache
from triton_vllm_operator.desired.pod_settings import PodSettings
from triton_vllm_operator.kube.errors import Forbidden
from triton_vllm_operator.observed.findings import Finding
from triton_vllm_operator.plan import verdict
from triton_vllm_operator.plan.autoconfig import empty_autoconfig
from triton_vllm_operator.plan.inspection_protocol import InspectedModel
from triton_vllm_operator.plan.model_resolution import ModelResolution, planning_disabled
from triton_vllm_operator.plan.model_status import model_from_status
from triton_vllm_operator.plan.not_planned import NotPlanned
from triton_vllm_operator.plan.provisional import autoconfig_in_use, is_deployed, is_provisional
from triton_vllm_operator.plan.validation import ValidatedSpec
from triton_vllm_operator.plan.verdict import Decision, PredictedPlan

REPLAN_S = 30.0
"""Nodes are not watched: how soon a new one ends a verdict that holds pods back."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What is known before the children are applied.

    Attributes:
        llm: with the automatic configuration of the fields that the spec leaves open.
        conditions: ModelResolved and Fits.
        status: `model`, `plan` and `chosen`, as far as they are known.
        hold: why no pods are made, or None.
        after: seconds until the next reconcile.
        shape: of the model, where it was read.
    """

    llm: LLMDeployment
    conditions: tuple[Condition, ...]
    status: LLMDeploymentStatus = field(default_factory=LLMDeploymentStatus)
    hold: Finding | None = None
    after: float | None = None
    shape: ModelShape | None = None


@dataclass
class Planner:
    """Plans LLMDeployments. Its only state is what it has read last of nodes and models."""

    settings: PodSettings = field(default_factory=PodSettings)
    nodes: TTLCache[list[Object]] = field(default_factory=ttl_cache.nodes)
    shapes: ShapeCache = field(default_factory=ShapeCache)

    async def plan(
        self, cluster: ClusterView, spec: ValidatedSpec, status: Mapping[str, Any], resolution: ModelResolution
    ) -> Planned:
        """The plan of one LLMDeployment. `status`: as read from the API server."""
        llm, running = spec.llm, cluster.running(spec.llm)
        config = autoconfig_in_use(llm, running, status)
        configured = llm.with_chosen(config or empty_autoconfig(llm))
        waits = not is_deployed(configured, running)
        enforced = waits and llm.spec.planning.mode == "Enforce"
        if resolution.model is None:
            assert resolution.not_planned is not None
            # Mode Advise waits for the first result, to configure by it, but not for a better one than a failure.
            holds = enforced or (waits and resolution.condition.reason == Reason.INSPECTING)
            return _planned(configured, resolution, resolution.not_planned, resolution.hold if holds else None)
        self.shapes.remember(llm, resolution.model)
        decision = await self._decision(cluster, spec, status, resolution.model, config, final=not enforced)
        if isinstance(decision, NotPlanned):
            return _planned(configured, resolution, decision)
        fits = verdict.condition(decision)
        hold = Finding(fits.reason, fits.message) if enforced and decision.forbids else None
        replan = hold is not None or (decision.forbids and is_provisional(llm, config, running))
        return _planned(llm.with_chosen(decision.chosen), resolution, decision, hold, REPLAN_S if replan else None)

    async def predict(
        self, cluster: ClusterView, spec: ValidatedSpec, status: Mapping[str, Any]
    ) -> PredictedPlan | None:
        """The plan of an LLMDeployment that is about to be stored; None where its model is not known yet.

        Args:
            status: of the object as it is stored now, {} for a new one.
        """
        llm = spec.llm
        if planning_disabled(llm, self.settings.operator_image):
            return None
        own = model_from_status(llm, status.get("model", {}))
        model = own or self.shapes.find(llm)
        if model is None:
            return None
        running = cluster.running(llm)
        config = autoconfig_in_use(llm, running, status)
        deployed = is_deployed(llm.with_chosen(config or empty_autoconfig(llm)), running)
        decision = await self._decision(cluster, spec, status, model, config, final=False)
        certain = own is not None or llm.spec.model.source.pinned
        return PredictedPlan(decision, binding=certain and not deployed and llm.spec.planning.mode == "Enforce")

    async def _decision(
        self,
        cluster: ClusterView,
        spec: ValidatedSpec,
        status: Mapping[str, Any],
        model: InspectedModel,
        config: AutoConfig | None,
        *,
        final: bool,
    ) -> Decision | NotPlanned:
        """The plan in the status if it stands, else a new one.

        A Deployment that was made with nothing configured, before the model was known, is configured when it cannot
        fit, as long as no pod of it has served.

        Args:
            final: whether a plan that forbids stands too.
        """
        provisional = is_provisional(spec.llm, config, cluster.running(spec.llm))
        kept = verdict.kept_decision(status, spec.engine_version, config) if config is not None else None
        if kept is not None and not (kept.forbids and (provisional or not final)):
            return kept
        decision = await self._decide(cluster, spec, model, config)
        if provisional and isinstance(decision, Decision) and decision.forbids:
            better = await self._decide(cluster, spec, model, None)
            if isinstance(better, Decision) and not better.forbids:
                return better
        return decision

    async def _decide(
        self, cluster: ClusterView, spec: ValidatedSpec, model: InspectedModel, config: AutoConfig | None
    ) -> Decision | NotPlanned:
        try:
            nodes = await self.nodes.get(cluster)
        except Forbidden as error:
            return NotPlanned(Reason.NODES_NOT_READABLE, f"The operator may not list nodes: {error.reason}.")
        # In a thread: a search takes up to a second, in which other reconciles and probes go on.
        llm, version, row = spec.llm, spec.engine_version, spec.resolved.row
        return await asyncio.to_thread(verdict.decide, llm, model.shape, version, nodes, config, row=row)


def _planned(
    llm: LLMDeployment,
    resolution: ModelResolution,
    decision: Decision | NotPlanned,
    hold: Finding | None = None,
    after: float | None = None,
) -> Planned:
    """While pods are held back nothing is configured: `status.chosen` is what the children were made with."""
    return Planned(
        llm=llm,
        conditions=(resolution.condition, verdict.condition(decision)),
        status=LLMDeploymentStatus(
            model=resolution.status,
            plan=decision.plan if isinstance(decision, Decision) else None,
            chosen=llm.chosen if hold is None else None,
        ),
        hold=hold,
        after=after if resolution.model is not None else resolution.after,
        shape=resolution.model.shape if isinstance(decision, Decision) and resolution.model is not None else None,
    )
