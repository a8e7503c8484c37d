"""``render``: every object that the operator would apply for an LLMDeployment. No cluster, no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import yaml

from triton_vllm_operator.api.autoconfig import Chosen
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.capacity import GPUClass, ModelShape
from triton_vllm_operator.cli.deployments import Question, decide, node, understood
from triton_vllm_operator.cli.errors import NothingApplied
from triton_vllm_operator.desired.children import children
from triton_vllm_operator.desired.inputs import Defaults
from triton_vllm_operator.desired.inspect_pod import inspect_pod
from triton_vllm_operator.plan import inspection, verdict
from triton_vllm_operator.plan.autoconfig import empty_autoconfig
from triton_vllm_operator.plan.validation import ValidatedSpec


@dataclass(frozen=True, slots=True)
class Operator:
    """Settings of the operator that reach the objects, as the chart gives them."""

    namespace: str = "default"
    serving_image: str | None = None
    operator_image: str | None = None


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the inspection and the nodes would tell."""

    shape: ModelShape
    gpu: GPUClass


def objects(obj: Mapping[str, Any], operator: Operator, cluster: Cluster | None, today: date) -> list[dict[str, Any]]:
    """Everything for one LLMDeployment: the inspection pod, where the operator would make one, and the children.

    Without `cluster` nothing is chosen that the spec leaves open. Errors: InputProblem for what the operator refuses.
    """
    wanted = understood(obj, operator.namespace, operator.serving_image, today)
    llm = wanted.llm.with_chosen(_chosen(wanted, obj.get("status"), cluster))
    return [*_inspection(wanted.llm, operator), *children(llm, wanted.image, Defaults())]


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, so that config.pbtxt and model.json can be read."""


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _string)


def text(found: Sequence[dict[str, Any]]) -> str:
    """YAML documents."""
    told: str = yaml.dump_all(found, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
    return told


def _inspection(llm: LLMDeployment, operator: Operator) -> Iterator[dict[str, Any]]:
    if operator.operator_image is not None and llm.spec.planning.mode != "Off":
        yield inspection.with_attempt(inspect_pod(llm, operator.operator_image, "", Defaults()), 0)


def _chosen(wanted: ValidatedSpec, status: object, cluster: Cluster | None) -> Chosen:
    if cluster is None:
        return empty_autoconfig(wanted.llm)
    question = Question.about(wanted, status)
    decided = decide(question, cluster.shape, [node(wanted.llm, cluster.gpu)])
    if decided.forbids and wanted.llm.spec.planning.mode == "Enforce":
        raise NothingApplied(f"DoesNotFit: {verdict.condition(decided).message} The operator would apply nothing.")
    return decided.chosen
