"""Whether the model fits the GPUs that pods may land on: decided once, kept in status.plan.

The decision is made again only when a part of the spec that it depends on changes, or while it forbids pods: then
nothing runs on it, and a new node may change it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from triton_vllm_operator.api.conditions import Condition
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.capacity import (
    EngineSettings,
    GPUClass,
    ModelShape,
    Plan,
    ShapeError,
    gpu_by_product,
    gpu_classes,
    gpu_of_memory,
    resolve,
    with_suggestions,
)
from triton_vllm_operator.plan.inspection import asked

FITS = "Fits"
_PRODUCT_LABEL = "nvidia.com/gpu.product"
_GPU_LABEL = "nvidia.com/gpu."
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
        "prefill_context_parallel_size",
        "quantization_config",
        "runner",
        "convert",
        "task",
    }
)
_PLANNED_METHODS = {"ngram": "ngram", "mtp": "mtp", "deepseek_mtp": "mtp"}

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Unknown:
    """No decision can be made: why, and what would settle it."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Decision:
    """status.plan as it is to be written."""

    plan: Mapping[str, Any]

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
        return Condition(FITS, "False", "DoesNotFit", message)
    if plan["verdict"] == "Tight":
        return Condition(FITS, "Unknown", "Tight", message)
    return Condition(FITS, "True", FITS, message)


def _advice(plan: Mapping[str, Any]) -> str:
    if plan["verdict"] == FITS:
        return ""
    if plan["suggestions"]:
        return f" The smallest change that fits: {plan['suggestions'][0]['message']}."
    return " No single change of the spec was found that fits on the GPUs of this cluster."


def kept(llm: LLMDeployment, engine_version: str, plan: Mapping[str, Any]) -> Decision | None:
    """What was decided before for the same model, settings and GPUs; None where nothing was."""
    return Decision(plan) if plan.get("decidedFor") == decided_for(llm, engine_version) else None


def decided_for(llm: LLMDeployment, engine_version: str) -> str:
    """Sixteen hexadecimal digits that change with everything in the spec that a plan depends on."""
    spec = llm.spec
    basis = {
        "model": asked(llm),
        "engine": spec.engine.model_dump(mode="json"),
        "version": engine_version,
        "gpu": spec.resources.gpu.model_dump(mode="json"),
        "nodes": spec.scheduling.node_selector,
    }
    return hashlib.sha256(json.dumps(basis, sort_keys=True).encode()).hexdigest()[:16]


def decide(llm: LLMDeployment, shape: ModelShape, engine_version: str, nodes: Iterable[Object]) -> Decision | Unknown:
    """Plan for every class of GPU that a pod may land on.

    Args:
        engine_version: vLLM of the serving image.
        nodes: Node objects of the cluster.
    """
    if unplanned := unplanned_arguments(llm):
        told = ", ".join(f"spec.engine.extraArgs.{name}" for name in unplanned)
        message = f"{told} changes what the engine needs in a way that is not planned. The engine itself decides."
        return Unknown("ArgumentNotPlanned", message)
    classes = _classes(llm, list(nodes))
    if isinstance(classes, Unknown):
        return classes
    try:
        settings = settings_of(llm, engine_version)
        if converted := _converted(shape, settings, classes[0]):
            return Unknown("WeightsConverted", f"{converted} How much that needs is not planned: the engine decides.")
        plans = [(gpu, with_suggestions(shape, settings, gpu, classes)) for gpu in classes]
    except ShapeError as error:
        return Unknown(error.reason, f"{error}.")
    gpu, plan = _representative(plans)
    told_plan = {**plan.to_json(), "message": f"On {gpu.product}: {_sentence(plan.message)}"}
    identity = {"gpu": gpu.product, "decidedFor": decided_for(llm, engine_version)}
    return Decision({**told_plan, **_mixed(plans, gpu), **identity})


def unplanned_arguments(llm: LLMDeployment) -> list[str]:
    """Extra arguments that make a plan, or what config.json says of the model, worthless."""
    extra = llm.spec.engine.extra_args
    found = sorted(name for name in extra if name in _UNPLANNED and extra[name] not in (None, False, 0, {}))
    speculation = extra.get("speculative_config")
    if speculation and not (isinstance(speculation, Mapping) and speculation.get("method") in _PLANNED_METHODS):
        found.append("speculative_config")
    return found


def settings_of(llm: LLMDeployment, engine_version: str) -> EngineSettings:
    """The engine's settings as the planner takes them: the typed fields, and extra arguments of the same meaning."""
    names = {field.name for field in fields(EngineSettings)}
    given = {**llm.spec.engine.extra_args, **llm.spec.engine.model_dump(exclude_none=True)}
    values = {name: value for name, value in given.items() if name in names and value is not None}
    speculation = given.get("speculative_config")
    if isinstance(speculation, Mapping):
        values["speculation"] = _PLANNED_METHODS[speculation["method"]]
        values["num_speculative_tokens"] = int(speculation.get("num_speculative_tokens") or 0)
    return EngineSettings(**{**values, "engine_version": engine_version})


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


def _classes(llm: LLMDeployment, nodes: Sequence[Object]) -> Sequence[GPUClass] | Unknown:
    """Classes that a pod may land on; those that hold all GPUs of a pod on one node, where there are any."""
    gpu = llm.spec.resources.gpu
    there = [_as_whole(node, gpu.resource_name) for node in nodes if _offers(node, gpu.resource_name)]
    allowed = [node for node in there if _labels(llm).items() <= _node_labels(node).items()]
    if gpu.memory_gib is not None:
        return [_given(gpu.memory_gib, gpu.product, gpu_classes(allowed, resource=gpu.resource_name))]
    if not allowed:
        return _by_product(llm, bool(there))
    if shared := next((n for n in allowed if _node_labels(n).get(_SHARING_LABEL, "none") not in ("none", "")), None):
        return Unknown("GPUsShared", _shared_message(shared))
    classes = gpu_classes(allowed, resource=gpu.resource_name)
    if sum(found.count for found in classes) < sum(_count(node, gpu.resource_name) for node in allowed):
        return Unknown("GPUMemoryUnknown", _unlabelled_message(llm, allowed))
    return [found for found in classes if found.per_node >= llm.gpus_per_pod] or classes


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


def _by_product(llm: LLMDeployment, others: bool) -> Sequence[GPUClass] | Unknown:
    """No node for the pods yet: one may be added, so the product's own figures are used where they are known."""
    gpu = llm.spec.resources.gpu
    if known := _known(gpu.product or ""):
        return [known]
    where = "fits spec.scheduling.nodeSelector and spec.resources.gpu.product" if others else "is there"
    message = f"No node that offers {gpu.resource_name} {where}, so the memory of the GPUs is not known. "
    return Unknown("GPUMemoryUnknown", f"{message}Set spec.resources.gpu.memoryGiB, or add such a node.")


def _labels(llm: LLMDeployment) -> dict[str, str]:
    product = llm.spec.resources.gpu.product
    return dict(llm.spec.scheduling.node_selector) | ({_PRODUCT_LABEL: product} if product else {})


def _node_labels(node: Object) -> Mapping[str, str]:
    return node["metadata"].get("labels") or {}


def _count(node: Object, resource: str) -> int:
    text = str(node.get("status", {}).get("allocatable", {}).get(resource, "0"))
    return int(text) if text.isdigit() else 0


def _offers(node: Object, resource: str) -> bool:
    return _count(node, resource) > 0


def _as_whole(node: Object, resource: str) -> Object:
    """A node that offers MIG slices under a name of their own, with the labels of the slice in place of the card's.

    The feature discovery writes nvidia.com/mig-3g.40gb.memory beside nvidia.com/gpu.memory, which is the whole card.
    """
    if not resource.startswith("nvidia.com/mig-"):
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
    dark = [n["metadata"]["name"] for n in nodes if not gpu_classes([n], resource=resource)]
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
    verdicts = {plan.verdict for _, plan in plans}
    if len(verdicts) == 1:
        return {}
    bad = [(gpu, plan) for gpu, plan in plans if plan.verdict == "DoesNotFit"]
    if not bad:
        return {"verdict": "Tight", "reason": "DependsOnGPU", "message": _tight_on(plans)}
    gpu, plan = bad[-1]
    good = next(plan for found, plan in plans if found == shown)
    message = (
        f"A pod may land on {gpu.product}, where the model does not fit: {_sentence(plan.message)} It "
        f"{'fits' if good.verdict == FITS else 'is tight'} on {shown.product}."
    )
    suggestion = {
        "changes": {"resources.gpu.product": shown.product},
        "message": f"set resources.gpu.product: {shown.product}",
        "verdict": good.verdict,
        "concurrencyAtMaxModelLen": round(good.kv.concurrency, 2),
    }
    return {"verdict": "Tight", "reason": "DependsOnGPU", "message": message, "suggestions": [suggestion]}


def _tight_on(plans: Sequence[tuple[GPUClass, Plan]]) -> str:
    gpu, plan = next((gpu, plan) for gpu, plan in plans if plan.verdict == "Tight")
    return f"It fits on some GPUs that a pod may land on. On {gpu.product}: {_sentence(plan.message)}"


def _sentence(text: str) -> str:
    return f"{text.rstrip('.')}."
