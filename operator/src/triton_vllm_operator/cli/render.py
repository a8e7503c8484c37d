"""``render``: every object that the operator would apply for an LLMDeployment. No cluster, no network."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from triton_vllm_operator.api import names
from triton_vllm_operator.api.chosen import Chosen
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.capacity import ModelShape, gpu_by_product
from triton_vllm_operator.cli.problems import InputProblem, NothingApplied
from triton_vllm_operator.desired.children import children
from triton_vllm_operator.desired.inputs import Defaults
from triton_vllm_operator.desired.inspect_pod import inspect_pod
from triton_vllm_operator.plan import fit, inspection
from triton_vllm_operator.plan.wanted import Refusal, Wanted, understand

#: Owner of the objects that are printed: the API server gives the real one.
NO_UID = "00000000-0000-0000-0000-000000000000"
MAX_BYTES = 4 * 2**20


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
    product: str
    gpus: int


def read(path: Path) -> list[dict[str, Any]]:
    """The LLMDeployments of a file with YAML or JSON documents; "-" is standard input."""
    try:
        text = sys.stdin.read(MAX_BYTES + 1) if str(path) == "-" else _text(path)
        documents = [one for one in yaml.safe_load_all(text) if one is not None]
    except OSError as error:
        raise InputProblem(f"cannot read {path}: {error.strerror or error}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InputProblem(f"{path} is not YAML: {str(error)[:200]}") from None
    found = [one for one in documents if isinstance(one, dict) and one.get("kind") == names.KIND]
    if not found:
        raise InputProblem(f"{path} has no {names.KIND}")
    return found


def _text(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        text = file.read(MAX_BYTES + 1)
    if len(text) > MAX_BYTES:
        raise InputProblem(f"{path} is longer than {MAX_BYTES} characters")
    return text


def objects(obj: Mapping[str, Any], operator: Operator, cluster: Cluster | None, today: date) -> list[dict[str, Any]]:
    """Everything for one LLMDeployment: the inspection pod, where the operator would make one, and the children.

    Without `cluster` nothing is chosen that the spec leaves open. Errors: InputProblem for what the operator refuses.
    """
    try:
        wanted = understand(identified(obj, operator.namespace), operator.serving_image, today)
        wanted.refuse(opted_out=False)
    except Refusal as refusal:
        raise InputProblem(f"{refusal.reason}: {refusal.message}") from None
    llm = wanted.llm.with_chosen(_chosen(wanted, cluster))
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


def identified(obj: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    """With what the API server would add to its metadata. Errors: InputProblem without metadata.name or spec."""
    meta = obj.get("metadata")
    if not isinstance(meta, dict) or not isinstance(meta.get("name"), str) or not isinstance(obj.get("spec"), dict):
        raise InputProblem(f"a {names.KIND} needs metadata.name and spec")
    return {**obj, "metadata": {"namespace": namespace, "uid": NO_UID, **meta}}


def _inspection(llm: LLMDeployment, operator: Operator) -> Iterator[dict[str, Any]]:
    if operator.operator_image is not None and llm.spec.planning.mode != "Off":
        yield inspection.with_attempt(inspect_pod(llm, operator.operator_image, "", Defaults()), 0)


def _chosen(wanted: Wanted, cluster: Cluster | None) -> Chosen:
    if cluster is None:
        return fit.nothing_chosen(wanted.llm)
    nodes = [_node(wanted.llm, cluster)]
    decided = fit.decide(wanted.llm, cluster.shape, wanted.engine_version, nodes, row=wanted.resolved.row)
    if isinstance(decided, fit.Unknown):
        raise InputProblem(f"{decided.reason}: {decided.message}")
    if decided.forbids and wanted.llm.spec.planning.mode == "Enforce":
        raise NothingApplied(f"DoesNotFit: {fit.condition(decided).message} The operator would apply nothing.")
    return decided.chosen


def _node(llm: LLMDeployment, cluster: Cluster) -> dict[str, Any]:
    """A node that pods of this LLMDeployment may land on."""
    product = gpu_by_product(cluster.product).product
    labels = {**llm.spec.scheduling.node_selector, "nvidia.com/gpu.product": product}
    allocatable = {llm.spec.resources.gpu.resource_name: str(cluster.gpus)}
    return {"metadata": {"name": "node", "labels": labels}, "status": {"allocatable": allocatable}}
