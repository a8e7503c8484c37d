"""``explain``: why an LLMDeployment is not Ready, in the order in which things must come true. It only reads."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from triton_vllm_operator.api import kinds, names
from triton_vllm_operator.api.conditions import ConditionType, Mark, find, summary
from triton_vllm_operator.api.kinds import Object
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.cli import cluster
from triton_vllm_operator.cli.errors import InputProblem
from triton_vllm_operator.desired import pod, repository
from triton_vllm_operator.kube import gpu_inventory, login
from triton_vllm_operator.kube.client import Client
from triton_vllm_operator.kube.errors import Forbidden
from triton_vllm_operator.observed import findings, needs, pods
from triton_vllm_operator.observed.gpu_shortage import GPUUse
from triton_vllm_operator.observed.observation import Observation
from triton_vllm_operator.plan.autoconfig import recorded
from triton_vllm_operator.plan.gpu_use import gpu_use


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that must come true. `mark`: it has, it has not, or nobody knows."""

    mark: Mark
    name: str
    text: str


def steps(name: str, namespace: str | None, kubeconfig: str | None, context: str | None) -> list[Step]:
    """`look` with the credentials of a kubeconfig. Errors: InputProblem, also for a cluster that does not answer."""

    async def run(client: Client) -> list[Step]:
        return await look(client, namespace or login.namespace(kubeconfig, context), name)

    return cluster.ask(kubeconfig, context, run)


async def look(client: Client, namespace: str, name: str) -> list[Step]:
    """The steps of one LLMDeployment, as the cluster is now. Errors: InputProblem when there is none."""
    obj = await client.find(kinds.LLM_DEPLOYMENT, namespace, name)
    if obj is None:
        raise InputProblem(f"namespace {namespace} has no LLMDeployment {name}; kubectl get llm -A lists all")
    seen = await _seen(client, obj)
    return [
        _operator(obj),
        *_refused(obj, seen),
        *_conditions(obj, follows_pods=False),
        *seen,
        *_conditions(obj, follows_pods=True),
        *_ready(obj),
    ]


# ------------------------------------------------------------------------------------ what the operator has said


def _operator(obj: Object) -> Step:
    status, generation = obj.get("status", {}), obj["metadata"].get("generation", 0)
    if status.get("observedGeneration", 0) < generation:
        text = f"the operator has not looked at generation {generation} yet; is it running? (kubectl get pods -A -l "
        return Step("no", "Operator", f"{text}app.kubernetes.io/name=triton-vllm-operator)")
    return Step("ok", "Operator", f"has looked at generation {generation}")


def _refused(obj: Object, seen: Sequence[Step]) -> Iterator[Step]:
    """What is stalled for a reason that neither the model, the plan nor the pods (`seen`) have is the spec."""
    conditions = obj.get("status", {}).get("conditions", [])
    stalled = find(conditions, ConditionType.STALLED) or {}
    if stalled.get("status") != "True" or any(step.mark == "?" for step in seen):
        return
    known = {
        condition.get("reason")
        for condition in conditions
        if condition["type"] in (ConditionType.MODEL_RESOLVED, ConditionType.FITS)
    }
    known |= {step.text.partition(":")[0] for step in seen}
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


# ----------------------------------------------------------------------------------------- what the cluster shows


# What keeps pods from serving. Whether they answer with a token is not asked from here.
_CAUSES = [check for check in findings.CHECKS if check not in (findings.not_settled, findings.no_token)]


async def _seen(client: Client, obj: Object) -> list[Step]:
    try:
        llm = LLMDeployment.parse(obj)
    except ValueError:
        return []  # the operator has said so
    if chosen := recorded(llm, obj.get("status", {}).get("chosen")):
        llm = llm.with_chosen(chosen)
    try:
        seen = await _observe(client, llm)
    except Forbidden as error:
        return [Step("?", "Pods", f"you may not look at them: {error}")]
    if seen.deployment is None:
        return []  # what keeps the operator from making any is told by the other steps
    causes = [finding for check in _CAUSES if (finding := check(seen))]
    progress = findings.not_settled(seen)
    found = causes or ([progress] if progress else [])
    steps = [Step("no", "Pods", f"{finding.reason}: {finding.message}") for finding in found]
    ready = sum(1 for one in seen.live_pods if one.ready)
    return steps or [Step("ok", "Pods", f"{ready} of {llm.spec.replicas} are ready")]


async def _observe(client: Client, llm: LLMDeployment) -> Observation:
    selector = f"{names.INSTANCE_LABEL}={llm.name}"
    live = await client.list_all(kinds.POD, llm.namespace, label_selector=selector)
    deployment = await client.find(kinds.DEPLOYMENT, llm.namespace, llm.name)
    states = pods.read_all(live, pod.CONTAINER)
    seen = Observation(llm, deployment, states, repository.content_hash(llm))
    if needs.waits_for_gpu(seen):
        seen = replace(seen, gpu_use=await _gpu_use(client, llm))
    waiting = needs.pods_in_creation(seen)
    told = await asyncio.gather(*(client.events_of(llm.namespace, one.uid) for one in waiting))
    errors = {one.name: needs.mount_error(events) for one, events in zip(waiting, told, strict=True)}
    return replace(seen, mount_errors=errors)


async def _gpu_use(client: Client, llm: LLMDeployment) -> GPUUse | None:
    """Who holds the GPUs, as far as the user may see; None where that does not reach to the nodes."""
    try:
        nodes = await gpu_inventory.nodes(client)
    except Forbidden:
        return None
    held = await gpu_inventory.held(client, [None])
    if not held.complete:
        held = await gpu_inventory.held(client, [llm.namespace])
    return gpu_use(llm, nodes, held.holders, complete=held.complete)
