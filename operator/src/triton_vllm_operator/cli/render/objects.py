"""Every object that the operator would apply for an LLMDeployment. No cluster, no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from triton_vllm_operator.api.autoconfig import Chosen
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.capacity import GPUClass, ModelShape
from triton_vllm_operator.cli.common.deployments import PlanRequest, decide, node, validated
from triton_vllm_operator.cli.common.errors import DoesNotFitError
from triton_vllm_operator.desired.children import children
from triton_vllm_operator.desired.inputs import Defaults
from triton_vllm_operator.desired.inspect_pod import inspect_pod
from triton_vllm_operator.plan import inspection, verdict
from triton_vllm_operator.plan.autoconfig import empty_autoconfig
from triton_vllm_operator.plan.validation import ValidatedSpec


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """Settings of the operator that change the objects, as the chart sets them."""

    namespace: str = "default"
    serving_image: str | None = None
    operator_image: str | None = None


@dataclass(frozen=True, slots=True)
class ModelAndGPU:
    """Results that the inspection and the nodes would give in a cluster."""

    shape: ModelShape
    gpu: GPUClass


def objects(
    obj: Mapping[str, Any], operator: OperatorSettings, cluster: ModelAndGPU | None, today: date
) -> list[dict[str, Any]]:
    """The inspection pod, where the operator would create one, and the children of one LLMDeployment.

    Without `cluster`, nothing is chosen that the spec leaves open.

    Raises:
        InputError: the operator would reject the LLMDeployment, or apply nothing because it does not fit.
    """
    spec = validated(obj, operator.namespace, operator.serving_image, today)
    llm = spec.llm.with_chosen(_chosen(spec, obj.get("status"), cluster))
    return [*_inspection(spec.llm, operator), *children(llm, spec.image, Defaults())]


def _inspection(llm: LLMDeployment, operator: OperatorSettings) -> Iterator[dict[str, Any]]:
    if operator.operator_image is not None and llm.spec.planning.mode != "Off":
        yield inspection.with_attempt(inspect_pod(llm, operator.operator_image, "", Defaults()), 0)


def _chosen(spec: ValidatedSpec, status: object, cluster: ModelAndGPU | None) -> Chosen:
    if cluster is None:
        return empty_autoconfig(spec.llm)
    request = PlanRequest.of_spec(spec, status)
    decided = decide(request, cluster.shape, [node(spec.llm, cluster.gpu)])
    if decided.forbids and spec.llm.spec.planning.mode == "Enforce":
        raise DoesNotFitError(f"DoesNotFit: {verdict.condition(decided).message} The operator would apply nothing.")
    return decided.chosen
