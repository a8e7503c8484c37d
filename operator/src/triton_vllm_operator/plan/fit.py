"""Whether the model fits the GPUs that pods may land on, and the choice of what the spec leaves open.

Both are decided once and kept: the choice on the Deployment that runs with it, the plan in status.plan. They are made
again only when a part of the spec that they depend on changes, or while the plan forbids pods: then nothing runs on
them, and a new node may change them. See docs/adr/0002-choices.md.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from triton_vllm_operator.api.autoconfig import Chosen
from triton_vllm_operator.api.conditions import Condition
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.capacity import (
    EngineSettings,
    GPUClass,
    ModelShape,
    Plan,
    ShapeError,
    choose,
    gpu_by_product,
    gpu_classes,
    gpu_of_memory,
    gpus_offered,
    plan,
    resolve,
    with_suggestions,
)
from triton_vllm_operator.catalog.drivers import check_driver, check_floor
from triton_vllm_operator.catalog.releases import Release
from triton_vllm_operator.catalog.violations import Problem
from triton_vllm_operator.plan.engine_settings import engine_settings
from triton_vllm_operator.plan.inspection import asked

FITS = "Fits"
_VERDICTS = ("Fits", "Tight", "DoesNotFit")
_PRODUCT_LABEL = "nvidia.com/gpu.product"
_GPU_LABEL = "nvidia.com/gpu."
_MIG = "nvidia.com/mig-"
_SHARING_LABEL = "nvidia.com/gpu.sharing-strategy"

# Engine arguments that move memory in ways the planner does not know: with one of them it would only guess.
_UNPLANNED = frozenset(
    {
        "config_format",
        "cpu_offload_gb",
        "cpu_offload_params",
        "data_parallel_size",
        "decode_context_parallel_size",
        "enable_eplb",
        "enable_lora",
        "hf_config_path",
        "hf_overrides",
        "kv_transfer_config",
        "num_redundant_experts",
        "offload_backend",
        "offload_group_size",
        "offload_num_in_group",
        "offload_prefetch_step",
        "performance_mode",
        "prefill_context_parallel_size",
        "quantization_config",
        "runner",
        "convert",
        "task",
    }
)
# Reasons that no other engine setting helps against: the message says what does.
_OF_NODES = frozenset({Reason.DRIVER_TOO_OLD, Reason.DRIVER_TOO_OLD_FOR_GPU, Reason.QUANTIZATION_NOT_ON_GPU})
# Products of which NVIDIA does not support the compatibility package of its images.
_NOT_FOR_DATA_CENTERS = re.compile(r"GeForce|TITAN|Quadro|RTX", re.IGNORECASE)
Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Unknown:
    """No decision can be made: why, and what would settle it."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Decision:
    """status.plan as it is to be written, and the choice that it was made with."""

    plan: Mapping[str, Any]
    chosen: Chosen

    @property
    def forbids(self) -> bool:
        """The model does not fit."""
        return bool(self.plan["verdict"] == "DoesNotFit")


def condition(decided: Decision | Unknown) -> Condition:
    """The condition `Fits`."""
    if isinstance(decided, Unknown):
        return Condition(FITS, "Unknown", decided.reason, decided.message)
    plan = decided.plan
    message = f"{plan['message']}{_advice(plan)}"
    if plan["verdict"] == "DoesNotFit":
        reason = Reason(plan["reason"]) if plan["reason"] in _OF_NODES else Reason.DOES_NOT_FIT
        return Condition(FITS, "False", reason, message)
    if plan["verdict"] == "Tight":
        return Condition(FITS, "Unknown", Reason.TIGHT, message)
    return Condition(FITS, "True", Reason.FITS, message)


def _advice(plan: Mapping[str, Any]) -> str:
    if plan["verdict"] == FITS:
        return ""
    if plan["suggestions"]:
        return f" The smallest change that fits: {plan['suggestions'][0]['message']}."
    if plan["reason"] in _OF_NODES:
        return ""
    return " No single change of the spec was found that fits on the GPUs of this cluster."


def kept(status: Mapping[str, Any], engine_version: str, chosen: Chosen) -> Decision | None:
    """What was planned before with the same choice, for the same engine; None where nothing was."""
    planned = status.get("plan", {})
    same = status.get("chosen") == chosen.to_json() and planned.get("engineVersion") == engine_version
    return Decision(planned, chosen) if same else None


def recorded(llm: LLMDeployment, text: str | Mapping[str, Any] | None) -> Chosen | None:
    """The choice that an annotation or status.chosen holds; None where it was made for another spec."""
    try:
        found = json.loads(text) if isinstance(text, str) else text
        known = {key: found[key] for key in map(_camel, Chosen.model_fields) if key in found} if found else {}
        chosen = Chosen.model_validate(known) if known else None
    except (ValueError, TypeError):
        return None
    return chosen if chosen is not None and chosen.basis == basis(llm) else None


def _camel(name: str) -> str:
    return str(Chosen.model_fields[name].alias)


def basis(llm: LLMDeployment) -> str:
    """Sixteen hexadecimal digits that change with everything in the spec that a choice depends on.

    Values that equal a default count as absent, so that a newer operator with more fields finds the same digits.
    """
    spec = llm.spec
    parts = {
        "model": asked(llm),
        "engine": spec.engine.model_dump(mode="json", exclude_defaults=True),
        "gpu": spec.resources.gpu.model_dump(mode="json", exclude_defaults=True),
        "nodes": spec.scheduling.node_selector,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def nothing_chosen(llm: LLMDeployment) -> Chosen:
    """The choice where nothing is known of the model or the GPUs."""
    return Chosen(basis=basis(llm))


def decide(
    llm: LLMDeployment,
    shape: ModelShape,
    engine_version: str,
    nodes: Iterable[Object],
    chosen: Chosen | None = None,
    *,
    row: Release | None = None,
) -> Decision | Unknown:
    """Choose what the spec leaves open, and plan for every class of GPU that a pod may land on.

    Args:
        llm: with the spec as the user wrote it.
        engine_version: vLLM of the serving image.
        nodes: Node objects of the cluster.
        chosen: what was chosen before, which then stands.
        row: of the serving image in the release table, by which the nodes' drivers are checked; None: they are not.
    """
    if unplanned := unplanned_arguments(llm):
        told = ", ".join(f"spec.engine.extraArgs.{name}" for name in unplanned)
        message = f"{told} changes what the engine needs in a way that is not planned. The engine itself decides."
        return Unknown(Reason.ARGUMENT_NOT_PLANNED, message)
    found = _classes(llm, list(nodes))
    if isinstance(found, Unknown):
        return found
    try:
        settings = engine_settings(llm.spec.engine, engine_version)
        if converted := _converted(shape, settings, found.allowed[0]):
            return Unknown(
                Reason.WEIGHTS_CONVERTED, f"{converted} How much that needs is not planned: the engine decides."
            )
        return _decide(llm, shape, settings, found, chosen, row)
    except ShapeError as error:
        return Unknown(error.reason, f"{error}.")


def _decide(
    llm: LLMDeployment,
    shape: ModelShape,
    settings: EngineSettings,
    found: _Classes,
    chosen: Chosen | None,
    row: Release | None,
) -> Decision:
    chosen = chosen or _choose(llm, shape, settings, _running(found.allowed, row) or found.allowed)
    settled = replace(settings, **{name: v for name, v in chosen.values.items() if _open(llm, name)})
    classes = [gpu for gpu in found.allowed if gpu.per_node >= settled.gpus] or found.allowed
    problems = {gpu: _driver_problem(gpu, row) for gpu in classes}
    others = _running(found.others, row)
    plans = [(gpu, _as_driver_allows(with_suggestions(shape, settled, gpu, others), problems[gpu])) for gpu in classes]
    gpu, shown = _representative(plans)
    noted = problems[gpu]
    warning = f" {noted.message}" if noted is not None and not noted.refuse else ""
    told = {**shown.to_json(), "message": f"On {gpu.product}: {_sentence(shown.message)}{warning}"}
    if len(plans) > 1:
        named = any(gpu.product == other.product for other in found.others)
        told |= _mixed(plans, gpu) | {"suggestions": _narrowed(shape, settled, plans, gpu, named=named)}
    return Decision(told, chosen)


def _driver_problem(gpu: GPUClass, row: Release | None) -> Problem | None:
    """Why the driver does not run the GPUs of a class, or the image on them, or what is to be known of it. The oldest
    driver under them counts; where no node tells its driver, that is not judged."""
    if row is None or not gpu.driver:
        return None
    where = f"nodes with {gpu.product}"
    if problem := check_floor(gpu.driver_version, gpu.driver_floor, where, gpu.product):
        return problem
    data_center = not _NOT_FOR_DATA_CENTERS.search(gpu.product)
    return check_driver(row, gpu.driver_version, where, data_center=data_center)


def _running(classes: Sequence[GPUClass], row: Release | None) -> list[GPUClass]:
    """Those on which the driver runs the image."""
    found = ((gpu, _driver_problem(gpu, row)) for gpu in classes)
    return [gpu for gpu, problem in found if problem is None or not problem.refuse]


def _as_driver_allows(answer: Plan, problem: Problem | None) -> Plan:
    """The plan, or that the engine does not run there at all."""
    if problem is None or not problem.refuse:
        return answer
    return replace(answer, verdict="DoesNotFit", reason=problem.reason, message=problem.message, suggestions=())


def _open(llm: LLMDeployment, name: str) -> bool:
    return getattr(llm.spec.engine, name) is None


def _choose(llm: LLMDeployment, shape: ModelShape, settings: EngineSettings, classes: Sequence[GPUClass]) -> Chosen:
    """The choice for the class that serves the longest requests with the fewest GPUs, of those the smallest; for the
    largest where none has room."""
    parallel = _open(llm, "tensor_parallel_size")
    choices = [(gpu, choose(shape, settings, gpu, choose_parallel=parallel)) for gpu in classes]

    def rank(choice: tuple[GPUClass, EngineSettings]) -> tuple[int, int, int, int]:
        gpu, wanted = choice
        verdict = plan(shape, wanted, gpu).verdict
        memory = -gpu.memory_bytes if verdict == "DoesNotFit" else gpu.memory_bytes
        return _VERDICTS.index(verdict), -(wanted.max_model_len or 0), wanted.gpus, memory

    _, best = min(choices, key=rank)
    names = ["tensor_parallel_size", "max_model_len"]
    if not shape.multimodal:  # the engine raises its batch to hold a whole image, whose tokens are not known here
        names += ["max_num_batched_tokens", "max_num_seqs"]
    return Chosen(basis=basis(llm), **{name: getattr(best, name) for name in names if _open(llm, name)})


def unplanned_arguments(llm: LLMDeployment) -> list[str]:
    """Extra arguments that make a plan, or what config.json says of the model, worthless."""
    extra = llm.spec.engine.extra_args
    return sorted(name for name in extra if name in _UNPLANNED and extra[name] not in (None, False, 0, {}))


def _converted(shape: ModelShape, settings: EngineSettings, gpu: GPUClass) -> str:
    """Why the weights in memory are not those of the checkpoint, whose bytes are planned; "" where they are."""
    if settings.quantization is not None and shape.quantization is None:
        return f"spec.engine.quantization {settings.quantization} makes the weights smaller while they are loaded."
    sizes = dict(shape.bytes_by_dtype)
    stored_wide = 2 * sizes.get("F32", 0) > sum(sizes.values())
    used = resolve(shape, settings, gpu).dtype
    if sizes and stored_wide != (used == "float32"):
        return f"The checkpoint is stored in {'32' if stored_wide else '16'} bits and served in {used}."
    return ""


# ---------------------------------------------------------------------------------------------- GPU classes


@dataclass(frozen=True, slots=True)
class _Classes:
    """Classes that a pod may land on, and those that it could be sent to by naming their product."""

    allowed: Sequence[GPUClass]
    others: Sequence[GPUClass] = ()


def _classes(llm: LLMDeployment, nodes: Sequence[Object]) -> _Classes | Unknown:
    """By what the nodes offer and say; only those that hold all GPUs of a pod on one node, where there are any."""
    gpu = llm.spec.resources.gpu
    resource = gpu.resource_name
    selected = _selected(llm, nodes)
    allowed = _allowed(llm, selected)
    classes = _of(allowed, resource)
    if gpu.memory_gib is not None:
        return _Classes([_given(gpu.memory_gib, gpu.product, classes)])
    if not allowed:
        return _by_product(llm, any(gpus_offered(node, resource) for node in nodes))
    if shared := next((n for n in allowed if _is_shared(n)), None):
        return Unknown(Reason.GPUS_SHARED, _shared_message(shared))
    if sum(found.count for found in classes) < sum(gpus_offered(node, resource) for node in allowed):
        return Unknown(Reason.GPU_MEMORY_UNKNOWN, _unlabelled_message(llm, allowed))
    fitting = [found for found in classes if found.per_node >= llm.gpus_per_pod] or classes
    return _Classes(fitting, _of([node for node in selected if _can_be_named(node, resource)], resource))


def landing(llm: LLMDeployment, nodes: Iterable[Object]) -> list[Object]:
    """The nodes that offer GPUs and that a pod may land on by their labels, as their GPUs are to be grouped."""
    resource = llm.spec.resources.gpu.resource_name
    return [_as_whole(node, resource) for node in _allowed(llm, _selected(llm, nodes))]


def _selected(llm: LLMDeployment, nodes: Iterable[Object]) -> list[Object]:
    resource, wanted = llm.spec.resources.gpu.resource_name, llm.spec.scheduling.node_selector
    return [node for node in nodes if gpus_offered(node, resource) and wanted.items() <= _node_labels(node).items()]


def _allowed(llm: LLMDeployment, selected: Iterable[Object]) -> list[Object]:
    product = llm.spec.resources.gpu.product
    return [node for node in selected if not product or _node_labels(node).get(_PRODUCT_LABEL) == product]


def _of(nodes: Sequence[Object], resource: str) -> Sequence[GPUClass]:
    return gpu_classes([_as_whole(node, resource) for node in nodes], resource=resource)


def _can_be_named(node: Object, resource: str) -> bool:
    """Whether spec.resources.gpu.product can choose this node: a MIG slice's label is not the one that it selects."""
    return _PRODUCT_LABEL in _node_labels(node) and not _is_shared(node) and not resource.startswith(_MIG)


def _is_shared(node: Object) -> bool:
    return _node_labels(node).get(_SHARING_LABEL, "none") not in ("none", "")


def _given(memory_gib: float, product: str | None, present: Sequence[GPUClass]) -> GPUClass:
    """The memory that the user states, with the compute capability of the product or of what is there."""
    known = present[0] if present else _known(product or "")
    plain = gpu_of_memory(memory_gib)
    if known is None:
        return plain
    return replace(known, product=product or plain.product, memory_bytes=plain.memory_bytes)


def _known(product: str) -> GPUClass | None:
    try:
        return gpu_by_product(product) if product else None
    except ShapeError:
        return None


def _by_product(llm: LLMDeployment, others: bool) -> _Classes | Unknown:
    """No node for the pods yet: one may be added, so the product's own figures are used where they are known."""
    gpu = llm.spec.resources.gpu
    if known := _known(gpu.product or ""):
        return _Classes([known])
    where = "fits spec.scheduling.nodeSelector and spec.resources.gpu.product" if others else "is there"
    message = f"No node that offers {gpu.resource_name} {where}, so the memory of the GPUs is not known. "
    return Unknown(Reason.GPU_MEMORY_UNKNOWN, f"{message}Set spec.resources.gpu.memoryGiB, or add such a node.")


def _node_labels(node: Object) -> Mapping[str, str]:
    return node["metadata"].get("labels") or {}


def _as_whole(node: Object, resource: str) -> Object:
    """A node that offers MIG slices under a name of their own, with the labels of the slice in place of the card's.

    The feature discovery writes nvidia.com/mig-3g.40gb.memory beside nvidia.com/gpu.memory, which is the whole card.
    """
    if not resource.startswith(_MIG):
        return node
    labels = dict(_node_labels(node))
    for name in ("product", "memory"):
        labels.pop(f"{_GPU_LABEL}{name}", None)
        if (value := labels.get(f"{resource}.{name}")) is not None:
            labels[f"{_GPU_LABEL}{name}"] = value
    return {**node, "metadata": {**node["metadata"], "labels": labels}}


def _shared_message(node: Object) -> str:
    how = _node_labels(node)[_SHARING_LABEL]
    return (
        f"The GPUs of node {node['metadata']['name']} are shared ({how}): other pods use the same memory. "
        "Set spec.resources.gpu.memoryGiB to the part of one pod, or select nodes with whole GPUs."
    )


def _unlabelled_message(llm: LLMDeployment, nodes: Sequence[Object]) -> str:
    resource = llm.spec.resources.gpu.resource_name
    dark = [n["metadata"]["name"] for n in nodes if not _of([n], resource)]
    return (
        f"The memory of the GPUs of node {dark[0]} is not known. Install NVIDIA's GPU feature discovery, which labels "
        "nodes with nvidia.com/gpu.memory, set spec.resources.gpu.memoryGiB, or name labelled nodes in "
        "spec.scheduling.nodeSelector."
    )


# -------------------------------------------------------------------------------------------------- verdict


def _representative(plans: Sequence[tuple[GPUClass, Plan]]) -> tuple[GPUClass, Plan]:
    """The plan to show: where any fits, the worst of those that fit; else the one with the most memory."""
    for verdict in ("Fits", "Tight"):
        if fitting := [pair for pair in plans if pair[1].verdict == verdict]:
            return min(fitting, key=lambda pair: pair[0].memory_bytes)
    return max(plans, key=lambda pair: pair[0].memory_bytes)


def _mixed(plans: Sequence[tuple[GPUClass, Plan]], shown: GPUClass) -> dict[str, Any]:
    """What differs between the classes: a pod may land on a GPU on which the model does not fit."""
    if len({answer.verdict for _, answer in plans}) == 1:
        return {}
    bad = [(gpu, answer) for gpu, answer in plans if answer.verdict == "DoesNotFit"]
    if not bad:
        return {"verdict": "Tight", "reason": str(Reason.DEPENDS_ON_GPU), "message": _tight_on(plans)}
    gpu, worst = bad[-1]
    good = next(answer for found, answer in plans if found == shown)
    message = (
        f"A pod may land on {gpu.product}, where the model does not fit: {_sentence(worst.message)} It "
        f"{'fits' if good.verdict == FITS else 'is tight'} on {shown.product}."
    )
    return {"verdict": "Tight", "reason": str(Reason.DEPENDS_ON_GPU), "message": message}


def _narrowed(
    shape: ModelShape, settings: EngineSettings, plans: Sequence[tuple[GPUClass, Plan]], gpu: GPUClass, *, named: bool
) -> list[dict[str, Any]]:
    """Changes that fit wherever a pod may land after them.

    Args:
        gpu: the class that is shown.
        named: whether the spec can choose that class by its product.
    """
    shown = next(answer for found, answer in plans if found == gpu)
    others = [found for found, _ in plans if found != gpu]
    if all(answer.verdict == FITS for _, answer in plans):
        return []
    if shown.verdict == FITS:
        only = {"message": "set", "verdict": FITS, "concurrencyAtMaxModelLen": round(shown.kv.concurrency, 2)}
        return [_on_one({"changes": {}, **only}, gpu)] if named else []
    everywhere: list[dict[str, Any]] = []
    elsewhere: list[dict[str, Any]] = []
    for one in (suggestion.to_json() for suggestion in shown.suggestions):
        (everywhere if _fits_on_all(shape, settings, others, one["changes"]) else elsewhere).append(one)
    return [*everywhere, *(_on_one({**one, "message": f"{one['message']} and"}, gpu) for one in elsewhere if named)]


_PRODUCT_FIELD = "resources.gpu.product"


def _fits_on_all(
    shape: ModelShape, settings: EngineSettings, classes: Sequence[GPUClass], changes: Mapping[str, Any]
) -> bool:
    if _PRODUCT_FIELD in changes:
        return True  # it was planned for that product, and no other is left
    values = {_snake(key.removeprefix("engine.")): value for key, value in changes.items() if key.startswith("engine.")}
    if len(values) < len(changes):
        return False
    return all(plan(shape, replace(settings, **values), gpu).verdict == FITS for gpu in classes)


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def _on_one(suggestion: dict[str, Any], gpu: GPUClass) -> dict[str, Any]:
    changes = {**suggestion["changes"], _PRODUCT_FIELD: gpu.product}
    return {**suggestion, "changes": changes, "message": f"{suggestion['message']} {_PRODUCT_FIELD}: {gpu.product}"}


def _tight_on(plans: Sequence[tuple[GPUClass, Plan]]) -> str:
    gpu, plan = next((gpu, plan) for gpu, plan in plans if plan.verdict == "Tight")
    return f"It fits on some GPUs that a pod may land on. On {gpu.product}: {_sentence(plan.message)}"


def _sentence(text: str) -> str:
    return f"{text.rstrip('.')}."
