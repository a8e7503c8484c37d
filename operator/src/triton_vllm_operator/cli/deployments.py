"""LLMDeployments on the command line: read from a file, and what the operator would decide about one."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from triton_vllm_operator.api import names
from triton_vllm_operator.api.model_source import ClaimSource
from triton_vllm_operator.api.spec import EngineSpec, LLMDeployment
from triton_vllm_operator.capacity import GPUClass, ModelShape
from triton_vllm_operator.catalog.releases import Release
from triton_vllm_operator.cli.errors import InputProblem
from triton_vllm_operator.plan import verdict
from triton_vllm_operator.plan.autoconfig import recorded
from triton_vllm_operator.plan.not_planned import NotPlanned
from triton_vllm_operator.plan.validation import Rejected, ValidatedSpec, validate

#: Owner of the objects that are printed: the API server gives the real one.
NO_UID = "00000000-0000-0000-0000-000000000000"
MAX_BYTES = 4 * 2**20


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


def identified(obj: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    """With what the API server would add to its metadata. Errors: InputProblem without metadata.name or spec."""
    meta = obj.get("metadata")
    if not isinstance(meta, dict) or not isinstance(meta.get("name"), str) or not isinstance(obj.get("spec"), dict):
        raise InputProblem(f"a {names.KIND} needs metadata.name and spec")
    return {**obj, "metadata": {"namespace": namespace, "uid": NO_UID, **meta}}


def understood(obj: Mapping[str, Any], namespace: str, serving_image: str | None, today: date) -> ValidatedSpec:
    """As the operator understands it. Errors: InputProblem for what the operator refuses, in its words."""
    try:
        wanted = validate(identified(obj, namespace), serving_image, today)
        wanted.check(opted_out=False)
    except Rejected as refusal:
        raise InputProblem(f"{refusal.reason}: {refusal.message}") from None
    return wanted


@dataclass(frozen=True, slots=True)
class Question:
    """What the operator would decide about: an LLMDeployment, and the engine that would run it.

    Attributes:
        row: of the serving image in the release table; None where only the engine's version is known.
        status: of the object, which holds what was read and chosen before; {} where it was never applied.
    """

    llm: LLMDeployment
    engine_version: str
    row: Release | None
    status: Mapping[str, Any]

    @classmethod
    def about(cls, wanted: ValidatedSpec, status: object = None) -> Question:
        """An LLMDeployment that is understood."""
        known = status if isinstance(status, dict) else {}
        return cls(wanted.llm, wanted.engine_version, wanted.resolved.row, known)

    @classmethod
    def of_engine(
        cls, engine: EngineSpec, gpu: Mapping[str, Any], engine_version: str, row: Release | None
    ) -> Question:
        """An LLMDeployment that says no more than `spec.engine` and `spec.resources.gpu`."""
        meta = {"name": "plan", "namespace": "default", "uid": NO_UID}
        said = {"model": {"uri": ClaimSource.of("any").uri}, "resources": {"gpu": gpu}}
        llm = LLMDeployment.parse({"metadata": meta, "spec": said})
        spec = llm.spec.model_copy(update={"engine": engine})
        return cls(llm.model_copy(update={"spec": spec}), engine_version, row, {})


def decide(question: Question, shape: ModelShape, nodes: Sequence[Mapping[str, Any]]) -> verdict.Decision:
    """What the operator would choose and plan on these nodes. Errors: InputProblem where it would not know."""
    before = question.status.get("chosen")
    chosen = recorded(question.llm, before) if isinstance(before, dict) else None
    found = verdict.decide(question.llm, shape, question.engine_version, nodes, chosen, row=question.row)
    if isinstance(found, NotPlanned):
        raise InputProblem(f"{found.reason}: {found.message}")
    return found


def node(llm: LLMDeployment, gpu: GPUClass) -> dict[str, Any]:
    """A node with `gpu.per_node` GPUs of that class, on which pods of this LLMDeployment may land."""
    major, minor = gpu.compute_capability
    labels = {
        **llm.spec.scheduling.node_selector,
        "nvidia.com/gpu.product": gpu.product,
        "nvidia.com/gpu.compute.major": str(major),
        "nvidia.com/gpu.compute.minor": str(minor),
    }
    if (stated := llm.spec.resources.gpu.memory_gib) is not None:  # the product may be in no table
        labels["nvidia.com/gpu.memory"] = str(int(stated * 1024))
    allocatable = {llm.spec.resources.gpu.resource_name: str(gpu.per_node)}
    return {"metadata": {"name": "node", "labels": labels}, "status": {"allocatable": allocatable}}
