"""``plan``: the engine alone with its own defaults, or what the operator would make of an LLMDeployment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from triton_vllm_operator.capacity import ModelShape, with_suggestions
from triton_vllm_operator.cli import deployments, request, shape_options
from triton_vllm_operator.cli.deployments import Question
from triton_vllm_operator.cli.errors import InputProblem
from triton_vllm_operator.plan.model_status import model_from_status

#: GPUs of a node, where --gpus does not say it.
GPUS_OF_A_NODE = 8


@dataclass(frozen=True, slots=True)
class Context:
    """A cluster to look at: of a kubeconfig, or the current one."""

    kubeconfig: str | None = None
    context: str | None = None


def where(kubeconfig: str | None, context: str | None, *, cluster: bool) -> Context | None:
    """The cluster whose nodes count, or None."""
    if not cluster and (kubeconfig is not None or context is not None):
        raise InputProblem("--kubeconfig and --context go with --cluster")
    return Context(kubeconfig, context) if cluster else None


def engine_alone(given: shape_options.ShapeOptions, options: request.Options) -> dict[str, Any]:
    """The plan of an engine that is told what the options say, and nothing else: as `vllm serve` would start it."""
    gpu = request.gpu_of(options)
    return with_suggestions(given.read(), request.settings_of(options), gpu).to_json()


def as_operator(
    given: shape_options.ShapeOptions,
    options: request.Options,
    file: Path | None,
    serving_image: str | None,
    cluster: Context | None,
    today: date,
) -> dict[str, Any]:
    """status.plan and status.chosen, as the operator would write them.

    Args:
        file: with the LLMDeployment; None for one that says what the options say.
        cluster: whose nodes count; None for one node with the GPUs of the options.
    """
    question = _of_options(options) if file is None else _of_file(file, options, serving_image, today)
    request.within(question.llm.spec.engine, options)
    nodes = _nodes(question, options, cluster)
    decided = deployments.decide(question, _shape(given, question, of_file=file is not None), nodes)
    return {**decided.plan, "chosen": decided.chosen.to_json()}


def _of_options(options: request.Options) -> Question:
    engine = request.checked(request.engine_fields(options.changes))
    stated = {} if options.gpu_memory_gib is None else {"memoryGiB": request.gpu_of(options).memory_gib}
    return Question.of_engine(engine, stated, *request.engine_of(options))


def _of_file(file: Path, options: request.Options, serving_image: str | None, today: date) -> Question:
    if options.changes or options.release or options.engine_version or options.gpu_memory_gib is not None:
        raise InputProblem(
            "the file says what --set, --release, --engine-version and --gpu-memory-gib would: write it there"
        )
    found = deployments.read(file)
    if len(found) > 1:
        raise InputProblem(f"{file} has {len(found)} LLMDeployments; plan takes one")
    wanted = deployments.understood(found[0], "default", serving_image, today)
    return Question.about(wanted, found[0].get("status"))


def _nodes(question: Question, options: request.Options, cluster: Context | None) -> Sequence[Mapping[str, Any]]:
    about_gpus = (options.gpu, options.gpu_memory_gib, options.gpus, options.compute_capability)
    named = any(one is not None for one in about_gpus)
    if cluster is not None:
        if named:
            raise InputProblem("--cluster takes the GPUs of the cluster: drop the options about GPUs")
        from triton_vllm_operator.cli.cluster import nodes  # the Kubernetes client takes longer than all the rest

        return nodes(cluster.kubeconfig, cluster.context)
    if not named and question.llm.spec.resources.gpu.memory_gib is not None:
        return []  # the operator needs no node either
    gpu = request.gpu_of(options)
    return [deployments.node(question.llm, replace(gpu, per_node=gpu.per_node or GPUS_OF_A_NODE))]


def _shape(given: shape_options.ShapeOptions, question: Question, *, of_file: bool) -> ModelShape:
    """Of the model that the options name, else of the one that the LLMDeployment does."""
    if given.any or not of_file:
        return given.read()
    model = question.status.get("model")
    if isinstance(model, dict) and (known := model_from_status(question.llm, model)):
        return known.shape
    return shape_options.shape_of_source(question.llm.spec.model.source)
