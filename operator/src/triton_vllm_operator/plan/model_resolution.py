"""What the inspection means for the LLMDeployment: the condition `ModelResolved`, and whether pods wait for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from triton_vllm_operator.api import names
from triton_vllm_operator.api.conditions import Condition, ConditionType, find
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.api.status import ModelStatus
from triton_vllm_operator.observed import findings, pod_checks, pods
from triton_vllm_operator.observed.findings import Finding
from triton_vllm_operator.observed.observation import Observation
from triton_vllm_operator.plan.inspection import InspectionStep
from triton_vllm_operator.plan.inspection_protocol import NO_RESULT, Failure, InspectedModel
from triton_vllm_operator.plan.model_status import model_status
from triton_vllm_operator.plan.not_planned import NotPlanned

MODEL_RESOLVED: Final = ConditionType.MODEL_RESOLVED
WAIT_S: Final = 60.0
"""How long serving pods wait for the inspection pod's result."""

_RETRY_CREATE_S: Final = 15.0  # there is no event when a claim, a quota or a policy changes


@dataclass(frozen=True, slots=True)
class ModelResolution:
    """What is known of the model.

    Attributes:
        condition: ModelResolved.
        status: `status.model`, if there is one.
        model: None where it was not read.
        not_planned: why there is no plan, where the model was not read.
        hold: why no pods are made until the model is read, or None.
        after: seconds until the next reconcile.
    """

    condition: Condition
    status: ModelStatus | None = None
    model: InspectedModel | None = None
    not_planned: NotPlanned | None = None
    hold: Finding | None = None
    after: float | None = None


def planning_disabled(llm: LLMDeployment, operator_image: str | None) -> NotPlanned | None:
    """Why neither an inspection nor a plan is made, by the spec or by the operator's settings."""
    if llm.spec.planning.mode == "Off":
        return NotPlanned(
            Reason.PLANNING_OFF, "spec.planning.mode is Off: the model is not read and nothing is planned."
        )
    if operator_image is None:
        message = "The operator does not know its own image, which reads the model. Set --operator-image."
        return NotPlanned(Reason.NOT_PLANNED, message)
    return None


def disabled(why: NotPlanned) -> ModelResolution:
    """No inspection is made."""
    return ModelResolution(_unknown(why.reason, why.message), not_planned=why)


def resolved(model: InspectedModel, status: ModelStatus) -> ModelResolution:
    """The model was read. `status`: `status.model`."""
    shape = model.shape
    size = f"{status.weights_bytes / 2**30:.2f} GiB of weights" if status.weights_bytes else "no safetensors files"
    commit = f" Commit {model.commit}." if model.commit else ""
    message = f"{shape.architecture}, {len(shape.layers)} layers, {size}.{commit}"
    condition = Condition(MODEL_RESOLVED, "True", Reason.RESOLVED, message)
    return ModelResolution(condition, status, model)


def not_created(why: NotPlanned) -> ModelResolution:
    """The inspection pod could not be created."""
    return _unresolved(_unknown(why.reason, why.message), after=_RETRY_CREATE_S)


def from_step(llm: LLMDeployment, status: Mapping[str, Any], step: InspectionStep) -> ModelResolution:
    """What the inspection pods mean now. `status`: of the LLMDeployment as read."""
    if isinstance(step.result, InspectedModel):
        return resolved(step.result, model_status(llm, step.result))
    known = _recorded_failure(llm, status)
    if step.result is not None:
        # A pod that ended without a result, such as one that waited for a Secret to its deadline, disproves nothing.
        keeps = step.result.reason == NO_RESULT and known is not None
        return _failed(known if keeps and known is not None else step.result, step.retry_s)
    if step.pod is not None and (failure := start_failure(llm, step.pod)):
        return _failed(failure, None)
    if known is not None:
        return _failed(known, None)
    return _in_progress(step.age_s, "" if step.pod is None else stuck(llm, step.pod))


def start_failure(llm: LLMDeployment, pod: Mapping[str, Any]) -> Failure | None:
    """Why an inspection pod cannot start, as the kubelet reports it, in the words for a serving pod."""
    state = pods.read(pod, names.INSPECTION_CONTAINER)
    observation = Observation(llm=llm, deployment=None, pods=[state], config_hash="")
    if found := findings.reference_missing(observation):
        return Failure(found.reason, found.message)
    if found := findings.image_problem(observation):
        advice = "Set a pull secret for it in spec.podTemplate.imagePullSecrets, or correct --operator-image."
        words = state.server.waiting_message
        message = f"The operator's image, which reads the model, cannot be pulled: {words} {advice}"
        if not words:  # another container, which an admission webhook has added
            message = found.message
        return Failure(Reason.INSPECTION_IMAGE_PULL_FAILED, message[:2000])
    return None


_OBSTACLES: Final[tuple[findings.Check, ...]] = (
    pod_checks.node_lost,
    findings.claim_problem,
    pod_checks.scheduling_gated,
    findings.unschedulable,
    pod_checks.other_container_failed,
)


def stuck(llm: LLMDeployment, pod: Mapping[str, Any]) -> str:
    """What keeps an inspection pod from running and may end by itself, in the words for a serving pod; or ""."""
    state = pods.read(pod, names.INSPECTION_CONTAINER)
    observation = Observation(llm=llm, deployment=None, pods=[state], config_hash="")
    found = next((found for check in _OBSTACLES if (found := check(observation))), None)
    return "" if found is None else found.message


def _recorded_failure(llm: LLMDeployment, status: Mapping[str, Any]) -> Failure | None:
    """The definite failure in the condition of this generation: it stands until another result replaces it."""
    before = find(status.get("conditions", []), MODEL_RESOLVED) or {}
    if before.get("status") != "False" or before.get("observedGeneration") != llm.generation:
        return None
    reason = Reason.parse(before["reason"])
    return None if reason is None else Failure(reason, before["message"])


def _in_progress(age_s: float, obstacle: str) -> ModelResolution:
    left = WAIT_S - age_s
    message = "A pod reads the model's config.json and the headers of its weights."
    if obstacle:
        message = f"The pod that would read the model does not run. {obstacle}"
    hold = Finding(Reason.INSPECTING, message) if left > 0 else None
    return _unresolved(_unknown(Reason.INSPECTING, message), hold=hold, after=left if hold else None)


def _failed(failure: Failure, retry_s: float | None) -> ModelResolution:
    if not failure.definite:
        return _unresolved(_unknown(failure.reason, failure.message), after=retry_s)
    hold = Finding(failure.reason, failure.message)
    condition = Condition(MODEL_RESOLVED, "False", failure.reason, failure.message)
    return _unresolved(condition, hold=hold, after=retry_s)


def _unresolved(condition: Condition, hold: Finding | None = None, after: float | None = None) -> ModelResolution:
    why = NotPlanned(condition.reason, f"There is no plan: {condition.message}")
    return ModelResolution(condition, not_planned=why, hold=hold, after=after)


def _unknown(reason: Reason, message: str) -> Condition:
    return Condition(MODEL_RESOLVED, "Unknown", reason, message)
