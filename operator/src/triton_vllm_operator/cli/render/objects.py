"""Every object that the operator would apply for an LLMDeployment. No cluster, no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from triton_vllm_operator.api.autoconfig import AutoConfig
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.capacity import GPUClass, ModelShape
from triton_vllm_operator.cli.common.deployments import PlanRequest, decide, node, validated
from triton_vllm_operator.cli.common.errors import DoesNotFitError, NotPlannedError
from triton_vllm_operator.desired.children import children
from triton_vllm_operator.desired.inspect_pod import inspect_pod
from triton_vllm_operator.desired.pod_settings import PodSettings
from triton_vllm_operator.plan import inspection, verdict
from triton_vllm_operator.plan.autoconfig import empty_autoconfig, recorded
from triton_vllm_operator.plan.model_resolution import planning_disabled
from triton_vllm_operator.plan.validation import ValidatedSpec


@dataclass(frozen=True, slots=True)
class ModelAndGPU:
    """Results that the inspection and the nodes would give in a cluster."""

    shape: ModelShape
    gpu: GPUClass


def objects(
    obj: Mapping[str, Any], namespace: str, settings: PodSettings, cluster: ModelAndGPU | None, today: date
) -> list[dict[str, Any]]:
    """The inspection pod, where the operator would create one, and the children of one LLMDeployment.

    Args:
        namespace: of a manifest that does not set one.
        settings: of the operator.
        cluster: without it, nothing is chosen that the spec leaves open.

    Raises:
        InputError: the operator would reject the LLMDeployment, or apply nothing because it does not fit.
    """
    spec = validated(obj, namespace, settings.serving_image, today)
    llm = spec.llm.with_chosen(_chosen(spec, obj.get("status"), cluster))
    return [*_inspection(spec.llm, settings), *children(llm, spec.image, settings.defaults)]


def _inspection(llm: LLMDeployment, settings: PodSettings) -> Iterator[dict[str, Any]]:
    if settings.operator_image is not None and planning_disabled(llm, settings.operator_image) is None:
        pod = inspect_pod(llm, settings.operator_image, settings.operator_image_pull_policy, settings.defaults)
        yield inspection.with_attempt(pod, 0)


def _chosen(spec: ValidatedSpec, status: object, cluster: ModelAndGPU | None) -> AutoConfig:
    if cluster is None:
        return empty_autoconfig(spec.llm)
    request = PlanRequest.of_spec(spec, status)
    try:
        decided = decide(request, cluster.shape, [node(spec.llm, cluster.gpu)])
    except NotPlannedError:
        return recorded(spec.llm, request.status.get("chosen")) or empty_autoconfig(spec.llm)
    if decided.forbids and spec.llm.spec.planning.mode == "Enforce":
        raise DoesNotFitError(f"DoesNotFit: {verdict.condition(decided).message} The operator would apply nothing.")
    return decided.chosen
