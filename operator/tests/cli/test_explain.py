"""`kubectl llm explain`: the order in which things must come true, on an API server in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.builders.deployments import LLAMA_70B, decided, node
from tests.fake import clock
from tests.fake.world import World, served
from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.kinds import Object
from triton_vllm_operator.cli.common.errors import InputError
from triton_vllm_operator.cli.explain import steps as explain
from triton_vllm_operator.cli.explain.steps import Step
from triton_vllm_operator.cli.main import app
from triton_vllm_operator.kube.client import Client
from triton_vllm_operator.kube.errors import Forbidden
from triton_vllm_operator.plan import verdict

T4 = ("Tesla-T4", 15360, "7", "5")
LABELS = {"serving.triton-vllm.dev/llmdeployment": "a"}


def explained(spec: Object, *more: Object, status: Object | None = None, generation: int = 1) -> list[Step]:
    """The steps after one reconcile, beside `more` objects; `status`: fields that replace what the operator wrote."""

    async def run() -> list[Step]:
        made = await served(spec)
        kind = kinds.LLM_DEPLOYMENT
        for obj in more:
            made.api.create(obj, "user")

        def change(obj: Object) -> None:
            obj["status"] = {**obj["status"], **(status or {})}

        made.api.change((kind, "team", "a"), "user", change)
        made.api.objects[kind, "team", "a"]["metadata"]["generation"] = generation
        return await explain.steps_of(made.manager.cluster.client, "team", "a")

    found: list[Step] = clock.run(run())
    return found


def pod(**status: Any) -> Object:
    meta = {"name": "a-1", "namespace": "team", "labels": LABELS}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {}, "status": {"phase": "Pending", **status}}


def by_name(steps: list[Step], name: str) -> list[Step]:
    return [step for step in steps if step.name == name]


MODEL = {"model": {"uri": "hf://org/model"}}


def test_one_that_is_being_deleted_names_what_it_waits_for() -> None:
    async def run() -> list[Step]:
        made = await served(MODEL)
        meta = made.api.objects[kinds.LLM_DEPLOYMENT, "team", "a"]["metadata"]
        meta.update(deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["backup.example/keep"])
        return await explain.steps_of(made.manager.cluster.client, "team", "a")

    first, *_ = clock.run(run())
    assert (first.mark, first.name) == ("no", "Deletion")
    assert "waits for its finalizers: backup.example/keep." in first.text


def test_the_steps_come_in_the_order_in_which_they_must_come_true() -> None:
    steps = explained(MODEL)
    assert [step.name for step in steps] == ["Operator", "Image", "Model", "Plan", "Pods", "Ready"]
    assert steps[0].mark == "ok"
    assert steps[-1].mark == "no"


def test_a_rejected_spec_comes_before_the_image() -> None:
    steps = explained({**MODEL, "engine": {"extraArgs": {"no_such_argument": 1}}})
    [spec] = by_name(steps, "Spec")
    assert (spec.mark, steps.index(spec)) == ("no", 1)
    assert spec.text.startswith("ArgumentUnknown: ")


def test_a_plan_that_does_not_fit_comes_with_the_change_that_does() -> None:
    condition = verdict.condition(decided(LLAMA_70B, node(T4), engine={"tensorParallelSize": 1, "maxModelLen": 2048}))
    conditions = [
        {"type": condition.type, "status": condition.status, "reason": condition.reason, "message": condition.message}
    ]
    [step] = by_name(explained(MODEL, status={"conditions": conditions}), "Plan")
    assert step.mark == "no"
    assert step.text.startswith("DoesNotFit: On Tesla-T4: ")


def test_an_engine_that_differs_from_the_plan_is_reported_but_not_an_obstacle() -> None:
    off = {"type": "PlanAccurate", "status": "False", "reason": "WeightsDiffer", "message": "m"}
    ready = {"type": "Ready", "status": "True", "reason": "Serving", "message": "m"}
    steps = explained(MODEL, status={"conditions": [off, ready]})
    assert by_name(steps, "Engine") == [Step("?", "Engine", "WeightsDiffer: m")]
    assert (steps[-1].name, steps[-1].mark) == ("Ready", "ok")


def test_progress_is_reported_where_nothing_is_wrong() -> None:
    [step] = by_name(explained(MODEL, pod()), "Pods")
    assert (step.mark, step.text.split(":")[0]) == ("no", "RollingOut")


def test_states_of_pods_are_named_as_in_the_status() -> None:
    gated = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}
    [step] = by_name(explained(MODEL, pod(conditions=[gated])), "Pods")
    assert (step.mark, step.text.split(":")[0]) == ("no", "SchedulingGated")
    old = pod()
    old["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    [step] = by_name(explained(MODEL, old), "Pods")
    assert step.text.startswith("SchedulerMissing: Scheduler default-scheduler has not handled pod a-1")


def test_a_rejected_spec_is_reported_after_it_was_planned_too() -> None:
    refused = {"type": "Stalled", "status": "True", "reason": "ArgumentUnknown", "message": "m"}
    [spec] = by_name(explained(MODEL, status={"conditions": [refused], "plan": {"verdict": "Fits"}}), "Spec")
    assert spec == Step("no", "Spec", "ArgumentUnknown: m")


def test_what_is_wrong_with_the_pods_or_the_model_is_not_blamed_on_the_spec() -> None:
    waiting = {"reason": "CreateContainerConfigError", "message": 'secret "hub" not found'}
    missing = pod(containerStatuses=[{"name": "server", "restartCount": 0, "state": {"waiting": waiting}}])
    stalled = {"type": "Stalled", "status": "True", "reason": "SecretNotFound", "message": "m"}
    steps = explained(MODEL, missing, status={"conditions": [stalled]})
    assert (by_name(steps, "Spec"), by_name(steps, "Pods")[0].text[:15]) == ([], "SecretNotFound:")
    gated = [{**stalled, "type": kind, "reason": "ModelGated"} for kind in ("Stalled", "ModelResolved")]
    assert by_name(explained(MODEL, status={"conditions": gated}), "Spec") == []


def test_where_no_deployment_was_made_its_pods_are_no_step() -> None:
    refused = explained({**MODEL, "engine": {"extraArgs": {"no_such_argument": 1}}})
    assert by_name(refused, "Pods") == []


@pytest.mark.parametrize("forbidden", [kinds.POD, kinds.DEPLOYMENT])
def test_pods_that_the_user_may_not_see_are_unknown_and_blame_nothing(
    forbidden: kinds.Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Client._json

    async def json(self: Client, verb: str, kind: kinds.Kind, *args: Any, **more: Any) -> Object:
        if kind == forbidden and by_user[0]:
            raise Forbidden("pods is forbidden")
        return await real(self, verb, kind, *args, **more)

    by_user = [False]
    monkeypatch.setattr(Client, "_json", json)

    async def look(client: Client, namespace: str, name: str) -> list[Step]:
        by_user[0] = True
        return await looked(client, namespace, name)

    looked = explain.steps_of
    monkeypatch.setattr(explain, "steps_of", look)
    stalled = {"type": "Stalled", "status": "True", "reason": "SecretNotFound", "message": "m"}
    steps = explained(MODEL, status={"conditions": [stalled]})
    assert by_name(steps, "Pods") == [Step("?", "Pods", "access denied: pods is forbidden")]
    assert by_name(steps, "Spec") == []


def test_every_finding_of_the_pods_is_reported_and_which_pods_hold_the_gpus() -> None:
    condition = {
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
    }  # fmt: skip
    gpus = {"apiVersion": "v1", "kind": "Node", **node(T4, gpus=0)}
    steps = by_name(explained(MODEL, pod(conditions=[condition]), gpus), "Pods")
    assert [step.text.split(":")[0] for step in steps] == ["InsufficientGPUs"], "that it is progress says nothing more"
    assert "No node offers nvidia.com/gpu" in steps[0].text


def test_a_user_who_may_list_pods_of_one_namespace_only_gets_those(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Client.pages

    async def pages(self: Client, kind: kinds.Kind, namespace: str | None = None, **more: Any) -> Any:
        if kind == kinds.POD and namespace is None:
            raise Forbidden("pods is forbidden in the whole cluster")
        async for page in real(self, kind, namespace, **more):
            yield page

    monkeypatch.setattr(Client, "pages", pages)
    message = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    gpus = {"apiVersion": "v1", "kind": "Node", **node(T4, gpus=1)}
    own, other = pod(), pod()
    for one, name, namespace in ((own, "own", "team"), (other, "other", "elsewhere")):
        one["metadata"] = {"name": name, "namespace": namespace}
        limits = {"nvidia.com/gpu": "1"}
        one["spec"] = {"nodeName": "n", "containers": [{"resources": {"limits": limits}}]}
    [step] = by_name(explained(MODEL, pod(conditions=[condition]), gpus, own, other), "Pods")
    assert "held by pod team/own 1. Only pods that the operator may list are counted" in step.text


def test_an_operator_that_has_not_observed_the_generation_comes_first() -> None:
    first = explained(MODEL, generation=7)[0]
    assert (first.mark, first.name) == ("no", "Operator")
    assert "generation 7" in first.text


def test_a_name_that_is_not_there_is_bad_input() -> None:
    async def run() -> None:
        made = World.of(0)
        made.chaos.calm()
        with pytest.raises(InputError, match="LLMDeployment b not found in namespace team"):
            await explain.steps_of(made.manager.cluster.client, "team", "b")

    clock.run(run())


def test_without_a_kubeconfig_it_says_so(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["explain", "a", f"--kubeconfig={tmp_path / 'nothing'}"])
    assert result.exit_code == 2
    assert "no cluster" in result.stderr
