"""Whether the model fits the GPUs that pods may land on: the plan, its verdict and the condition `Fits`.

The plan is made once and kept in `status.plan`. It is made again only when the automatic configuration is, or while it
forbids pods: then nothing runs on them, and a new node may change it. See docs/adr/0002-choices.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from triton_vllm_operator.api import quantity
from triton_vllm_operator.api.autoconfig import AutoConfig
from triton_vllm_operator.api.conditions import Condition, ConditionType
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import EngineSpec, LLMDeployment
from triton_vllm_operator.api.spec.resources import ResourcesSpec
from triton_vllm_operator.api.status import PlanStatus
from triton_vllm_operator.capacity import (
    EngineSettings,
    GPUClass,
    HostLimits,
    ModelShape,
    Plan,
    ShapeError,
    host_account,
    host_status,
    judge_host,
    resolve,
    with_suggestions,
)
from triton_vllm_operator.catalog import argument_effects, arguments, environment
from triton_vllm_operator.catalog.drivers import check_driver, check_driver_for_gpu
from triton_vllm_operator.catalog.releases import Release
from triton_vllm_operator.catalog.violations import Violation
from triton_vllm_operator.plan.autoconfig import configure, with_autoconfig
from triton_vllm_operator.plan.engine_settings import engine_settings
from triton_vllm_operator.plan.gpu_selection import GPUSelection, Node, select_gpu_classes
from triton_vllm_operator.plan.mixed_gpus import (
    DOES_NOT_FIT,
    FITS,
    TIGHT,
    combined_verdict,
    representative,
    sentence,
    suggestions_for_all,
)
from triton_vllm_operator.plan.not_planned import NotPlanned

# Reasons that no other engine setting helps against: the message has what does.
_OF_NODES = frozenset(
    {
        Reason.DRIVER_TOO_OLD,
        Reason.DRIVER_TOO_OLD_FOR_GPU,
        Reason.EPHEMERAL_STORAGE_TOO_SMALL,
        Reason.HOST_MEMORY_TOO_SMALL,
        Reason.QUANTIZATION_NOT_ON_GPU,
        Reason.SHARED_MEMORY_TOO_SMALL,
    }
)
# Products for which NVIDIA does not support the compatibility package of its images.
_NOT_FOR_DATA_CENTERS = re.compile(r"GeForce|TITAN|Quadro|RTX", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Decision:
    """`status.plan` as it is to be written, and the automatic configuration that it was made with."""

    plan: PlanStatus
    chosen: AutoConfig

    @property
    def forbids(self) -> bool:
        """Whether the model does not fit."""
        return self.plan.verdict == DOES_NOT_FIT


@dataclass(frozen=True, slots=True)
class PredictedPlan:
    """A plan made before the LLMDeployment is stored.

    Attributes:
        decision: as the reconcile will make it.
        binding: whether the reconcile will hold pods back by it: it is about this very model, and `planning.mode` is
            Enforce.
    """

    decision: Decision | NotPlanned
    binding: bool


def condition(decision: Decision | NotPlanned) -> Condition:
    """The condition `Fits`."""
    if isinstance(decision, NotPlanned):
        return Condition(ConditionType.FITS, "Unknown", decision.reason, decision.message)
    plan = decision.plan
    message = f"{plan.message}{_advice(plan)}"
    if plan.verdict == DOES_NOT_FIT:
        reason = next((one for one in _OF_NODES if one == plan.reason), Reason.DOES_NOT_FIT)
        return Condition(ConditionType.FITS, "False", reason, message)
    if plan.verdict == TIGHT:
        return Condition(ConditionType.FITS, "Unknown", Reason.TIGHT, message)
    return Condition(ConditionType.FITS, "True", Reason.FITS, message)


def _advice(plan: PlanStatus) -> str:
    if plan.verdict == FITS:
        return ""
    if plan.suggestions:
        return f" The smallest change that fits: {plan.suggestions[0].message}."
    if plan.reason in _OF_NODES:
        return ""
    return " No single change of the spec was found that fits on the GPUs of this cluster."


def kept_decision(status: Mapping[str, Any], engine_version: str, config: AutoConfig) -> Decision | None:
    """The plan in the status, if it was made with the same configuration for the same engine; else None."""
    plan = PlanStatus.recorded(status.get("plan"))
    if plan is None or status.get("chosen") != config.to_json() or plan.engine_version != engine_version:
        return None
    return Decision(plan, config)


def decide(
    llm: LLMDeployment,
    shape: ModelShape,
    engine_version: str,
    nodes: Iterable[Node],
    config: AutoConfig | None = None,
    *,
    row: Release | None = None,
) -> Decision | NotPlanned:
    """Configure what the spec leaves open, and plan for every class of GPU that a pod may land on.

    Args:
        llm: with the spec as the user wrote it.
        engine_version: vLLM of the serving image.
        nodes: Node objects of the cluster.
        config: the automatic configuration of before, which then stands.
        row: the serving image's row of the release table, by which the nodes' drivers are checked; None: they are not.
    """
    if unplanned := unplanned_arguments(llm.spec.engine, engine_version, _variables(llm)):
        return unplanned
    selection = select_gpu_classes(llm, list(nodes))
    if isinstance(selection, NotPlanned):
        return selection
    try:
        settings = engine_settings(llm.spec.engine, engine_version)
        if unplanned := unplanned_for_model(shape, settings, selection.allowed[0]):
            return unplanned
        return _decide(llm, shape, settings, selection, config, row)
    except ShapeError as error:
        return NotPlanned(error.reason, f"{error}.")


def _decide(
    llm: LLMDeployment,
    shape: ModelShape,
    settings: EngineSettings,
    selection: GPUSelection,
    config: AutoConfig | None,
    row: Release | None,
) -> Decision:
    allowed = selection.allowed
    config = config or configure(llm, shape, settings, _with_working_driver(allowed, row) or allowed)
    configured = with_autoconfig(settings, llm, config)
    classes = [gpu for gpu in allowed if gpu.per_node >= configured.gpus] or allowed
    problems = {gpu: _driver_problem(gpu, row) for gpu in classes}
    others = _with_working_driver(selection.others, row)
    plans = [
        (gpu, _as_driver_allows(with_suggestions(shape, configured, gpu, others), problems[gpu])) for gpu in classes
    ]
    gpu, shown = representative(plans)
    problem = problems[gpu]
    warning = f" {problem.message}" if problem is not None and not problem.rejects else ""
    changes: dict[str, Any] = {"message": f"On {gpu.product}: {sentence(shown.message)}{warning}"}
    if len(plans) > 1:
        selectable = any(gpu.product == other.product for other in selection.others)
        suggestions = suggestions_for_all(shape, configured, plans, gpu, selectable=selectable)
        changes |= {**combined_verdict(plans, gpu), "suggestions": suggestions}
    status = shown.to_status().model_copy(update=changes)
    return Decision(with_host(status, shape, configured, llm.spec.resources, downloads=_downloads(llm)), config)


def with_host(
    status: PlanStatus,
    shape: ModelShape,
    settings: EngineSettings,
    resources: ResourcesSpec,
    *,
    downloads: bool = False,
) -> PlanStatus:
    """The plan with the account of the container, which alone can make it not fit.

    Args:
        downloads: whether the weights are stored in the container's ephemeral storage.
    """
    if status.host is None:
        return status
    account = host_account(shape, settings, downloads=downloads)
    limits = _limits(resources)
    judged = judge_host(account, limits)
    changes: dict[str, Any] = {"host": host_status(account, limits)}
    if judged.verdict == DOES_NOT_FIT and status.verdict != DOES_NOT_FIT:
        message = f"The model fits the GPUs, but not the container: {sentence(judged.message)}"
        changes |= {"verdict": DOES_NOT_FIT, "reason": str(judged.reason), "message": message, "suggestions": []}
    return status.model_copy(update=changes)


def _limits(resources: ResourcesSpec) -> HostLimits:
    storage = resources.ephemeral_storage
    return HostLimits(
        int(quantity.parse(resources.memory)),
        int(quantity.parse(resources.shared_memory)),
        int(quantity.parse(storage)) if storage is not None else None,
    )


def _downloads(llm: LLMDeployment) -> bool:
    """Whether the model is certainly stored in the container's ephemeral storage, and not in a volume."""
    return llm.spec.model.source.claim_name is None and not llm.spec.pod_template.volume_mounts


def _driver_problem(gpu: GPUClass, row: Release | None) -> Violation | None:
    """Why the driver does not run the GPUs of a class, or the image on them, or a warning about it.

    The oldest driver of the class counts; where no node has a label with its driver, it is not checked.
    """
    if row is None or not gpu.driver:
        return None
    where = f"nodes with {gpu.product}"
    if problem := check_driver_for_gpu(gpu.driver_version, gpu.driver_floor, where, gpu.product):
        return problem
    data_center = not _NOT_FOR_DATA_CENTERS.search(gpu.product)
    return check_driver(row, gpu.driver_version, where, data_center=data_center)


def _with_working_driver(classes: Sequence[GPUClass], row: Release | None) -> list[GPUClass]:
    """The classes on which the driver runs the image."""
    found = ((gpu, _driver_problem(gpu, row)) for gpu in classes)
    return [gpu for gpu, problem in found if problem is None or not problem.rejects]


def _as_driver_allows(result: Plan, problem: Violation | None) -> Plan:
    """The plan, or that the engine does not run there at all."""
    if problem is None or not problem.rejects:
        return result
    return replace(result, verdict=DOES_NOT_FIT, reason=problem.reason, message=problem.message, suggestions=())


def _variables(llm: LLMDeployment) -> list[str]:
    """Names of the environment variables that the spec sets. Those of `envFrom` are not known here."""
    return [entry["name"] for entry in llm.spec.pod_template.env]


def unplanned_arguments(engine: EngineSpec, engine_version: str, variables: Sequence[str] = ()) -> NotPlanned | None:
    """Why nothing is planned where an argument changes the memory, or the model, in a way that is not known.

    Args:
        variables: names of environment variables of the engine.
    """
    given = {**engine.extra_args, **engine.model_dump(exclude={"extra_args"}, exclude_none=True)}
    paths = argument_effects.unplanned(given, engine_version)
    names = argument_effects.unplanned_variables(variables, engine_version)
    if not paths and not names:
        return None
    fields = ", ".join([*map(arguments.field_of, paths), *(f"{environment.FIELD} {name}" for name in names)])
    message = f"The effect of {fields} on the engine's memory is not planned. The engine itself decides."
    return NotPlanned(Reason.ARGUMENT_NOT_PLANNED, message)


def unplanned_for_model(shape: ModelShape, settings: EngineSettings, gpu: GPUClass) -> NotPlanned | None:
    """Why nothing is planned with these settings of this model.

    The weights in memory are not those of the checkpoint, whose bytes are planned; or a KV cache on the host comes with
    layers whose caches the engine arranges in another way then.
    """
    if settings.kv_offload_gib and {cache.kind for layer in shape.layers for cache in layer.caches} != {"full"}:
        field = arguments.field_of("kv_offloading_size")
        message = f"The effect of {field} on the KV cache of {shape.architecture} is not planned."
        return NotPlanned(Reason.ARGUMENT_NOT_PLANNED, f"{message} The engine itself decides.")
    converted = _conversion(shape, settings, gpu)
    if not converted:
        return None
    message = f"{converted} The memory that this needs is not planned. The engine itself decides."
    return NotPlanned(Reason.WEIGHTS_CONVERTED, message)


def _conversion(shape: ModelShape, settings: EngineSettings, gpu: GPUClass) -> str:
    """Why the weights in memory are not those of the checkpoint, whose bytes are planned; "" where they are."""
    if settings.quantization is not None and shape.quantization is None:
        return f"spec.engine.quantization {settings.quantization} makes the weights smaller while they are loaded."
    sizes = dict(shape.bytes_by_dtype)
    stored_wide = 2 * sizes.get("F32", 0) > sum(sizes.values())
    used = resolve(shape, settings, gpu).dtype
    if sizes and stored_wide != (used == "float32"):
        return f"The checkpoint is stored in {'32' if stored_wide else '16'} bits and served in {used}."
    return ""
