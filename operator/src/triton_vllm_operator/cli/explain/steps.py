"""The steps that an LLMDeployment takes until it is Ready, and where it stands. Reads only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from triton_vllm_operator.api import kinds, names
from triton_vllm_operator.api.conditions import ConditionType, Mark, find, summary
from triton_vllm_operator.api.kinds import Object
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.cli.common import cluster
from triton_vllm_operator.cli.common.errors import InputError
from triton_vllm_operator.kube import gpu_inventory, login, observe
from triton_vllm_operator.kube.client import Client
from triton_vllm_operator.kube.errors import Forbidden
from triton_vllm_operator.observed import findings
from triton_vllm_operator.observed.gpu_shortage import GPUUse
from triton_vllm_operator.observed.observation import Observation
from triton_vllm_operator.plan.autoconfig import recorded
from triton_vllm_operator.plan.gpu_use import gpu_use


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `mark`: done, not done, or unknown or only worth knowing."""

    mark: Mark
    name: str
    text: str


def steps(name: str, namespace: str | None, kubeconfig: str | None, context: str | None) -> list[Step]:
    """The steps of one LLMDeployment, read with the credentials of a kubeconfig.

    Raises:
        InputError: the LLMDeployment was not found, or the cluster cannot be read.
    """

    async def read(client: Client) -> list[Step]:
        return await steps_of(client, namespace or login.namespace(kubeconfig, context), name)

    return cluster.run(kubeconfig, context, read)


async def steps_of(client: Client, namespace: str, name: str) -> list[Step]:
    """The steps of one LLMDeployment, as the cluster is now.

    Raises:
        InputError: the LLMDeployment was not found.
    """
    obj = await client.find(kinds.LLM_DEPLOYMENT, namespace, name)
    if obj is None:
        raise InputError(f"LLMDeployment {name} not found in namespace {namespace}; kubectl get llm -A lists all")
    pods_now = await _pods(client, obj)
    return [
        *_deletion(obj),
        _operator(obj),
        *_spec(obj, pods_now),
        *_conditions(obj, follows_pods=False),
        *pods_now,
        *_conditions(obj, follows_pods=True),
        *_ready(obj),
    ]


# ------------------------------------------------------------------------------------ from the status


def _deletion(obj: Object) -> Iterator[Step]:
    """A step for an LLMDeployment that is deleted: the others are about the time before."""
    meta = obj["metadata"]
    if "deletionTimestamp" in meta:
        holders = ", ".join(meta.get("finalizers", [])) or "none"
        text = (
            f"it has been deleted at {meta['deletionTimestamp']} and waits for its finalizers: {holders}. The operator"
        )
        yield Step("no", "Deletion", f"{text} sets none and does nothing more; check what has set them")


def _operator(obj: Object) -> Step:
    status, generation = obj.get("status", {}), obj["metadata"].get("generation", 0)
    if status.get("observedGeneration", 0) < generation:
        text = f"the operator has not observed generation {generation} yet; is it running? (kubectl get pods -A -l "
        return Step("no", "Operator", f"{text}app.kubernetes.io/name=triton-vllm-operator)")
    return Step("ok", "Operator", f"has observed generation {generation}")


def _spec(obj: Object, pods_now: Sequence[Step]) -> Iterator[Step]:
    """A step for a rejected spec: Stalled, for a reason that is not that of the model, the plan or the pods."""
    conditions = obj.get("status", {}).get("conditions", [])
    stalled = find(conditions, ConditionType.STALLED) or {}
    if stalled.get("status") != "True" or any(step.mark == "?" for step in pods_now):
        return
    known = {
        condition.get("reason")
        for condition in conditions
        if condition["type"] in (ConditionType.MODEL_RESOLVED, ConditionType.FITS, ConditionType.UP_TO_DATE)
    }
    known |= {step.text.partition(":")[0] for step in pods_now}
    if stalled["reason"] not in known:
        yield Step("no", "Spec", _words(stalled))


def _conditions(obj: Object, *, follows_pods: bool) -> Iterator[Step]:
    """The steps of conditions that come before those of the pods, or after them."""
    conditions = obj.get("status", {}).get("conditions", [])
    for kind in ConditionType:
        condition = find(conditions, kind)
        if condition is not None and kind.follows_pods is follows_pods and condition["status"] in kind.marks:
            yield Step(kind.marks[condition["status"]], kind.label, _words(condition))


def _ready(obj: Object) -> Iterator[Step]:
    conditions = obj.get("status", {}).get("conditions", [])
    if last := summary(conditions):
        yield Step(
            "ok" if (last["type"], last["status"]) == (ConditionType.READY, "True") else "no", "Ready", _words(last)
        )


def _words(condition: Mapping[str, Any]) -> str:
    return f"{condition['reason']}: {condition['message']}"


# ------------------------------------------------------------------------------------ from the cluster


# What keeps pods from serving. `explain` sends no requests to the pods.
_OF_PODS = (findings.not_settled, findings.no_token, findings.pods_missing)
_CAUSES = [check for check in findings.CHECKS if check not in _OF_PODS]


async def _pods(client: Client, obj: Object) -> list[Step]:
    try:
        llm = LLMDeployment.parse(obj)
    except ValueError:
        return []  # the status has the reason
    if chosen := recorded(llm, obj.get("status", {}).get("chosen")):
        llm = llm.with_chosen(chosen)
    try:
        seen = await _observe(client, llm)
    except Forbidden as error:
        return [Step("?", "Pods", f"access denied: {error}")]
    if seen.deployment is None:
        return []  # the other steps have the reason
    matches = [(check, finding) for check in _CAUSES if (finding := check(seen))]
    causes = [finding for check, finding in matches if check not in findings.GENERAL_CHECKS]
    causes = causes or [finding for _, finding in matches][:1]
    progress = findings.not_settled(seen)
    found = causes or ([progress] if progress else [])
    steps = [Step("no", "Pods", f"{finding.reason}: {finding.message}") for finding in found]
    ready = sum(1 for one in seen.live_pods if one.ready)
    return steps or [Step("ok", "Pods", f"{ready} of {llm.replicas} are ready")]


async def _observe(client: Client, llm: LLMDeployment) -> Observation:
    selector = f"{names.INSTANCE_LABEL}={llm.name}"
    live = await client.list_all(kinds.POD, llm.namespace, label_selector=selector)
    deployment = await client.find(kinds.DEPLOYMENT, llm.namespace, llm.name)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return await observe.observation(client, llm, deployment, live, lambda: _gpu_use(client, llm), now)


async def _gpu_use(client: Client, llm: LLMDeployment) -> GPUUse | None:
    """Which pods hold the GPUs, as far as the user may list them; None without the right to list nodes."""
    try:
        nodes = await gpu_inventory.nodes(client)
    except Forbidden:
        return None
    held = await gpu_inventory.held(client, [None])
    if not held.complete:
        held = await gpu_inventory.held(client, [llm.namespace])
    return gpu_use(llm, nodes, held.pods, complete=held.complete)
