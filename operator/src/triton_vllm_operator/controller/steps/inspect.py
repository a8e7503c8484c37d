"""Reconcile step: a short pod reads the model's config.json and headers, once; its result is kept in `status.model`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.kinds import Key
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.api.status import ModelStatus
from triton_vllm_operator.controller.cluster import ClusterView
from triton_vllm_operator.desired.hub_access import claims_of_files
from triton_vllm_operator.desired.inputs import Defaults
from triton_vllm_operator.desired.inspect_pod import inspect_pod
from triton_vllm_operator.desired.pod_settings import PodSettings
from triton_vllm_operator.kube.errors import Conflict, Forbidden, Invalid
from triton_vllm_operator.observed import refusals, volume_claims
from triton_vllm_operator.plan import inspection, model_resolution
from triton_vllm_operator.plan.model_resolution import ModelResolution
from triton_vllm_operator.plan.model_status import model_from_status, model_status
from triton_vllm_operator.plan.not_planned import NotPlanned

log = logging.getLogger(__name__)


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Inspector:
    """Creates and deletes inspection pods. It keeps no state."""

    settings: PodSettings = field(default_factory=PodSettings)
    now: Callable[[], datetime] = _utc_now

    async def inspect(self, cluster: ClusterView, llm: LLMDeployment, status: Mapping[str, Any]) -> ModelResolution:
        """What is known of the model. `status`: of the LLMDeployment as read.

        Raises:
            KubeError: where the API server rejects a request for other reasons than a policy of the namespace.
        """
        live = cluster.inspections.owned_by(Key(llm.namespace, llm.name))
        if why := model_resolution.planning_disabled(llm, self.settings.operator_image):
            await _delete(cluster, inspection.not_deleting(live))
            return model_resolution.disabled(why)
        if model := model_from_status(llm, status.get("model", {})):
            await _delete(cluster, inspection.not_deleting(live))  # their result is in the status
            recorded = ModelStatus.recorded(status["model"])
            return model_resolution.resolved(model, recorded or model_status(llm, model))
        claims = await _usable_claims(cluster, llm, self.settings.defaults)
        step = inspection.next_step(self._pod(llm, claims), live, llm.uid, self.now())
        await _delete(cluster, step.delete)
        if step.create is not None and (not_created := await _create(cluster, llm, step.create)):
            return model_resolution.not_created(not_created)
        return model_resolution.from_step(llm, status, step)

    def _pod(self, llm: LLMDeployment, claims: frozenset[str]) -> dict[str, Any]:
        settings = self.settings
        assert settings.operator_image is not None
        return inspect_pod(
            llm,
            settings.operator_image,
            settings.operator_image_pull_policy,
            settings.defaults,
            claims,
            settings.architecture,
        )


async def _create(cluster: ClusterView, llm: LLMDeployment, pod: dict[str, Any]) -> NotPlanned | None:
    """Create the pod; returns why it was not created, where the namespace does not allow it."""
    name = pod["metadata"]["name"]
    try:
        if problem := await _claim_problem(cluster, llm):
            return problem
        log.info("%s/%s: create pod %s", llm.namespace, llm.name, name)
        cluster.inspections.put(await cluster.client.create(pod))
    except Conflict:
        log.info("%s/%s: pod %s already exists", llm.namespace, llm.name, name)
    except (Forbidden, Invalid) as error:
        message = f"The API server rejected the pod that reads the model: {error.reason}."
        return NotPlanned(Reason.INSPECTION_REFUSED, f"{message} {refusals.advice(error.reason)}")
    return None


async def _claim_problem(cluster: ClusterView, llm: LLMDeployment) -> NotPlanned | None:
    """Why the claim is not ready: the first pod of a claim selects the volume's node, without regard to GPUs."""
    claim = llm.spec.model.source.claim_name
    if claim is None:
        return None
    obj = await cluster.client.find(kinds.PVC, llm.namespace, claim)
    if obj is None:
        message = f"PersistentVolumeClaim {claim} does not exist in namespace {llm.namespace}. Create it, or correct "
        return NotPlanned(Reason.CLAIM_NOT_FOUND, f"{message}spec.model.uri.")
    problem = volume_claims.problem(obj)
    return NotPlanned(Reason.CLAIM_NOT_BOUND, problem) if problem else None


async def _usable_claims(cluster: ClusterView, llm: LLMDeployment, defaults: Defaults) -> frozenset[str]:
    """The claims with files that the inspection pod reads, such as a cached token, that it can mount now.

    They are bound, and another node can mount them too: one that a serving pod holds alone would keep it from starting.
    """
    serves = bool(cluster.children(kinds.POD, Key(llm.namespace, llm.name)))
    found = set()
    for claim in sorted(claims_of_files(llm, defaults)):
        obj = await cluster.client.find(kinds.PVC, llm.namespace, claim) or {}
        shared = any(mode.endswith("Many") for mode in obj.get("spec", {}).get("accessModes", []))
        if obj and not volume_claims.problem(obj) and (shared or not serves):
            found.add(claim)
    return frozenset(found)


async def _delete(cluster: ClusterView, pods: Iterable[Mapping[str, Any]]) -> None:
    for pod in pods:
        ref = kinds.ref_of(pod)
        log.info("%s: delete %s", ref.namespace, ref)
        await cluster.client.delete(ref)
