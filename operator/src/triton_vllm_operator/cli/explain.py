"""``explain``: why an LLMDeployment is not Ready, in the order in which things must come true. It only reads."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from triton_vllm_operator.api import names
from triton_vllm_operator.api.conditions import find, summary
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.cli import cluster
from triton_vllm_operator.cli.problems import InputProblem
from triton_vllm_operator.desired import pod, repository
from triton_vllm_operator.kube import kinds, login
from triton_vllm_operator.kube.client import Client
from triton_vllm_operator.kube.kinds import Object
from triton_vllm_operator.observed import findings, gather, pods
from triton_vllm_operator.observed.gpus import gpu_use
from triton_vllm_operator.observed.observation import Observation
from triton_vllm_operator.plan import accuracy, fit

Mark = Literal["ok", "no", "?"]


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
    return [*_told(obj), *await _seen(client, obj), *_ready(obj)]


# ------------------------------------------------------------------------------------ what the operator has said


def _told(obj: Object) -> Iterator[Step]:
    status, generation = obj.get("status", {}), obj["metadata"].get("generation", 0)
    conditions = status.get("conditions", [])
    if status.get("observedGeneration", 0) < generation:
        text = f"the operator has not looked at generation {generation} yet; is it running? (kubectl get pods -A -l "
        yield Step("no", "Operator", f"{text}app.kubernetes.io/name=triton-vllm-operator)")
    else:
        yield Step("ok", "Operator", f"has looked at generation {generation}")
    stalled = find(conditions, "Stalled") or {}
    known = {condition.get("reason") for condition in conditions if condition["type"] in ("ModelResolved", "Fits")}
    if stalled.get("status") == "True" and status.get("plan") is None and stalled["reason"] not in known:
        yield Step("no", "Spec", _words(stalled))
    marks: dict[str, tuple[str, dict[str, Mark]]] = {
        "SecurityAdvisory": ("Image", {"True": "?", "False": "ok"}),
        "ModelResolved": ("Model", {"True": "ok", "False": "no"}),
        "Fits": ("Plan", {"True": "ok", "False": "no"}),
    }
    for kind, (title, by_status) in marks.items():
        if condition := find(conditions, kind):
            yield Step(by_status.get(condition["status"], "?"), title, _words(condition))


def _ready(obj: Object) -> Iterator[Step]:
    conditions = obj.get("status", {}).get("conditions", [])
    accurate = find(conditions, accuracy.PLAN_ACCURATE) or {}
    if accurate.get("status") == "False":  # it serves all the same
        yield Step("?", "Engine", _words(accurate))
    if last := summary(conditions):
        yield Step("ok" if (last["type"], last["status"]) == ("Ready", "True") else "no", "Ready", _words(last))


def _words(condition: Mapping[str, Any]) -> str:
    return f"{condition['reason']}: {condition['message']}"


# ----------------------------------------------------------------------------------------- what the cluster shows


async def _seen(client: Client, obj: Object) -> list[Step]:
    try:
        llm = LLMDeployment.parse(obj)
    except ValueError:
        return []  # the operator has said so
    if chosen := fit.recorded(llm, obj.get("status", {}).get("chosen")):
        llm = llm.with_chosen(chosen)
    seen = await _observe(client, llm)
    found = [finding for check in findings.CHECKS if (finding := check(seen)) and finding.reason != "NoToken"]
    steps = [Step("no", "Pods", f"{finding.reason}: {finding.message}") for finding in found]
    ready = sum(1 for one in seen.live_pods if one.ready)
    return steps or [Step("ok", "Pods", f"{ready} of {llm.spec.replicas} are ready")]


async def _observe(client: Client, llm: LLMDeployment) -> Observation:
    selector = f"{names.INSTANCE_LABEL}={llm.name}"
    live = await client.list_all(kinds.POD, llm.namespace, label_selector=selector)
    deployment = await client.find(kinds.DEPLOYMENT, llm.namespace, llm.name)
    states = pods.read_all(live, pod.CONTAINER)
    seen = Observation(llm, deployment, states, repository.content_hash(llm))
    if gather.waits_for_gpu(seen):
        nodes = await client.list_all(kinds.NODE)
        holders = await client.list_all(kinds.POD, label_selector=names.INSTANCE_LABEL)
        seen = replace(seen, gpu_use=gpu_use(llm.spec.resources.gpu.resource_name, nodes, holders))
    waiting = gather.pods_in_creation(seen)
    told = await asyncio.gather(*(client.events_of(llm.namespace, one.uid) for one in waiting))
    errors = {one.name: gather.mount_error(events) for one, events in zip(waiting, told, strict=True)}
    return replace(seen, mount_errors=errors)
