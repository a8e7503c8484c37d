"""LLMDeployments of a file, and the plan that the operator would make for one."""

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
from triton_vllm_operator.catalog import argument_table
from triton_vllm_operator.catalog.releases import Release
from triton_vllm_operator.cli.common.errors import InputError, NotPlannedError
from triton_vllm_operator.plan import verdict
from triton_vllm_operator.plan.autoconfig import recorded
from triton_vllm_operator.plan.not_planned import NotPlanned
from triton_vllm_operator.plan.validation import Rejected, ValidatedSpec, engine_problems, rejection_of, validate

# UID of the owner in printed objects: the API server assigns the real one.
NO_UID = "00000000-0000-0000-0000-000000000000"
# Maximum size of a manifest.
MAX_BYTES = 4 * 2**20
# Number of GPUs per node that --gpus may give, and the number where it is not given.
MAX_GPUS = 1024
GPUS_PER_NODE = 8


def read(path: Path) -> list[dict[str, Any]]:
    """Read the LLMDeployments of a file with YAML or JSON documents. "-" is standard input."""
    try:
        text = sys.stdin.read(MAX_BYTES + 1) if str(path) == "-" else _text(path)
        documents = [one for one in yaml.safe_load_all(text) if one is not None]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InputError(f"{path} is not YAML: {str(error)[:200]}") from None
    found = [one for one in documents if isinstance(one, dict) and one.get("kind") == names.KIND]
    if not found:
        raise InputError(f"{path} contains no {names.KIND}")
    return found


def _text(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        text = file.read(MAX_BYTES + 1)
    if len(text) > MAX_BYTES:
        raise InputError(f"{path} is too large: the maximum is {MAX_BYTES} characters")
    return text


def with_metadata(obj: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    """The object with the metadata that the API server would add.

    Raises:
        InputError: metadata.name or spec is missing.
    """
    meta = obj.get("metadata")
    if not isinstance(meta, dict) or not isinstance(meta.get("name"), str) or not isinstance(obj.get("spec"), dict):
        raise InputError(f"invalid {names.KIND}: metadata.name and spec are required")
    return {**obj, "metadata": {"namespace": namespace, "uid": NO_UID, **meta}}


def validated(obj: Mapping[str, Any], namespace: str, serving_image: str | None, today: date) -> ValidatedSpec:
    """Validate an LLMDeployment as the operator does.

    Raises:
        InputError: the operator would reject it; the text is the operator's reason and message.
    """
    try:
        spec = validate(with_metadata(obj, namespace), serving_image, today)
        spec.check(opted_out=False)
    except Rejected as rejection:
        raise InputError(f"{rejection.reason}: {rejection.message}") from None
    return spec


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """Input of a plan: an LLMDeployment, and the engine that would run it.

    Attributes:
        row: row of the serving image in the release table; None where only the engine's version is known.
        status: status of the object, with the model that was read and the values that were chosen before; {} for one
            that was never applied.
    """

    llm: LLMDeployment
    engine_version: str
    row: Release | None
    status: Mapping[str, Any]

    @classmethod
    def of_spec(cls, spec: ValidatedSpec, status: object = None) -> PlanRequest:
        """The request for a validated LLMDeployment."""
        known = status if isinstance(status, dict) else {}
        return cls(spec.llm, spec.engine_version, spec.resolved.row, known)

    @classmethod
    def of_engine(
        cls, engine: EngineSpec, resources: Mapping[str, Any], engine_version: str, row: Release | None
    ) -> PlanRequest:
        """The request for an LLMDeployment with nothing but `spec.engine` and `spec.resources`."""
        meta = {"name": "plan", "namespace": "default", "uid": NO_UID}
        minimal = {"model": {"uri": ClaimSource.of("any").uri}, "resources": resources}
        llm = LLMDeployment.parse({"metadata": meta, "spec": minimal})
        spec = llm.spec.model_copy(update={"engine": engine})
        return cls(llm.model_copy(update={"spec": spec}), engine_version, row, {})


def decide(request: PlanRequest, shape: ModelShape, nodes: Sequence[Mapping[str, Any]]) -> verdict.Decision:
    """Make the plan that the operator would make on these nodes.

    Raises:
        NotPlannedError: the operator would report `Fits` as Unknown.
    """
    before = request.status.get("chosen")
    chosen = recorded(request.llm, before) if isinstance(before, dict) else None
    found = verdict.decide(request.llm, shape, request.engine_version, nodes, chosen, row=request.row)
    if isinstance(found, NotPlanned):
        raise not_planned(found)
    return found


def not_planned(why: NotPlanned) -> NotPlannedError:
    """The error of the command line for an LLMDeployment that is not planned."""
    return NotPlannedError(f"{why.reason}: {why.message}")


def check_arguments(engine: EngineSpec, engine_version: str, row: Release | None) -> None:
    """Check the engine arguments as the operator does.

    Args:
        row: of the serving image in the release table; None where only the engine's version is known.

    Raises:
        InputError: the operator would reject one of them; the text is the operator's reason and message.
    """
    contract = row.arguments_version if row is not None else None
    problems = engine_problems(engine, contract or argument_table.known_version(engine_version))
    if rejection := rejection_of(problems):
        raise InputError(f"{rejection.reason}: {rejection.message}")


def node(llm: LLMDeployment, gpu: GPUClass) -> dict[str, Any]:
    """A node with `gpu.per_node` GPUs of that class, on which pods of this LLMDeployment can be scheduled."""
    major, minor = gpu.compute_capability
    labels = {
        **llm.spec.scheduling.node_selector,
        "nvidia.com/gpu.product": gpu.product,
        "nvidia.com/gpu.compute.major": str(major),
        "nvidia.com/gpu.compute.minor": str(minor),
    }
    if (memory := llm.spec.resources.gpu.memory_gib) is not None:  # the table may not have the product
        labels["nvidia.com/gpu.memory"] = str(int(memory * 1024))
    allocatable = {llm.spec.resources.gpu.resource_name: str(gpu.per_node)}
    return {"metadata": {"name": "node", "labels": labels}, "status": {"allocatable": allocatable}}
