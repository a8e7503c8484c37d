"""Plans: of the engine alone with its own defaults, or as the operator would make it for an LLMDeployment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from triton_vllm_operator.capacity import ModelShape, ShapeError, with_suggestions
from triton_vllm_operator.cli.common import deployments
from triton_vllm_operator.cli.common.deployments import GPUS_PER_NODE, PlanRequest
from triton_vllm_operator.cli.common.errors import InputError
from triton_vllm_operator.cli.common.shape_options import ShapeOptions, shape_of_source
from triton_vllm_operator.cli.plan import options as planner_inputs
from triton_vllm_operator.cli.plan.options import PlanOptions
from triton_vllm_operator.plan import verdict
from triton_vllm_operator.plan.engine_settings import engine_settings
from triton_vllm_operator.plan.model_status import model_from_status
from triton_vllm_operator.plan.not_planned import NotPlanned


@dataclass(frozen=True, slots=True)
class ClusterContext:
    """Context of a kubeconfig; the current one where both are None."""

    kubeconfig: str | None = None
    context: str | None = None


def cluster_context(kubeconfig: str | None, context: str | None, *, cluster: bool) -> ClusterContext | None:
    """The cluster whose nodes are used, or None without `--cluster`."""
    if not cluster and (kubeconfig is not None or context is not None):
        raise InputError("--kubeconfig and --context require --cluster")
    return ClusterContext(kubeconfig, context) if cluster else None


def plan_engine(given: ShapeOptions, options: PlanOptions) -> dict[str, Any]:
    """Plan an engine with the options alone, as `vllm serve` would start it."""
    gpu, engine = planner_inputs.gpu_class(options), planner_inputs.engine_of(options)
    version, row = planner_inputs.engine_version(options)
    deployments.check_arguments(engine, version, row)
    shape = given.read()
    try:
        settings = engine_settings(engine, version)
        found = verdict.unplanned_arguments(engine, version) or verdict.unplanned_for_model(shape, settings, gpu)
        planned = None if found else with_suggestions(shape, settings, gpu)
    except ShapeError as error:
        found, planned = NotPlanned(error.reason, f"{error}."), None
    if planned is None:
        assert found is not None
        raise deployments.not_planned(found)
    return verdict.with_host(planned.to_status(), shape, settings, planner_inputs.resources_of(options)).to_json()


def plan_as_operator(
    given: ShapeOptions,
    options: PlanOptions,
    file: Path | None,
    serving_image: str | None,
    cluster: ClusterContext | None,
    today: date,
) -> dict[str, Any]:
    """Make `status.plan` and `status.chosen` as the operator would write them.

    Args:
        file: manifest with the LLMDeployment; None for one that the options describe.
        cluster: cluster whose nodes are used; None for one node with the GPUs of the options.
    """
    request = _of_options(options) if file is None else _of_file(file, options, serving_image, today)
    planner_inputs.check_gpus(request.llm.spec.engine, options)
    nodes = _nodes(request, options, cluster)
    decided = deployments.decide(request, _shape(given, request, of_file=file is not None), nodes)
    return {**decided.plan.to_json(), "chosen": decided.chosen.to_json()}


def _of_options(options: PlanOptions) -> PlanRequest:
    engine = planner_inputs.engine_spec(planner_inputs.fields_of(options.changes, "engine"))
    deployments.check_arguments(engine, *planner_inputs.engine_version(options))
    gpu = {} if options.gpu_memory_gib is None else {"memoryGiB": planner_inputs.gpu_class(options).memory_gib}
    resources = {**planner_inputs.fields_of(options.changes, "resources"), "gpu": gpu}
    planner_inputs.resources_of(options)  # raises where one is invalid
    return PlanRequest.of_engine(engine, resources, *planner_inputs.engine_version(options))


def _of_file(file: Path, options: PlanOptions, serving_image: str | None, today: date) -> PlanRequest:
    if options.changes or options.release or options.engine_version or options.gpu_memory_gib is not None:
        raise InputError(
            "--set, --release, --engine-version and --gpu-memory-gib cannot be used with -f: set the fields in the file"
        )
    found = deployments.read(file)
    if len(found) > 1:
        raise InputError(f"{file} contains {len(found)} LLMDeployments; plan takes one")
    spec = deployments.validated(found[0], "default", serving_image, today)
    return PlanRequest.of_spec(spec, found[0].get("status"))


def _nodes(request: PlanRequest, options: PlanOptions, cluster: ClusterContext | None) -> Sequence[Mapping[str, Any]]:
    about_gpus = (options.gpu, options.gpu_memory_gib, options.gpus, options.compute_capability)
    named = any(one is not None for one in about_gpus)
    if cluster is not None:
        if named:
            raise InputError("options about GPUs cannot be used with --cluster, which uses the GPUs of the cluster")
        from triton_vllm_operator.cli.common.cluster import nodes  # importing the Kubernetes client is slow

        return nodes(cluster.kubeconfig, cluster.context)
    if not named and request.llm.spec.resources.gpu.memory_gib is not None:
        return []  # the operator needs no node either
    gpu = planner_inputs.gpu_class(options)
    return [deployments.node(request.llm, replace(gpu, per_node=gpu.per_node or GPUS_PER_NODE))]


def _shape(given: ShapeOptions, request: PlanRequest, *, of_file: bool) -> ModelShape:
    """The shape of the model that the options name, else of that of the LLMDeployment."""
    if given.any or not of_file:
        return given.read()
    model = request.status.get("model")
    if isinstance(model, dict) and (known := model_from_status(request.llm, model)):
        return known.shape
    return shape_of_source(request.llm.spec.model.source)
