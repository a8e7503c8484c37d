"""One verdict in the webhook, in the conditions and on the command line: the same words, and all of them in the golden.

The webhook and the reconcile run on the fake API server; `kubectl llm render` reads the same object from a file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.builders.deployments import LLAMA_8B, LLAMA_70B
from tests.builders.worlds import COMMIT, planning_world, spec, stored
from tests.catalog.samples import GOLDEN
from tests.fake.world import World, served
from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.conditions import find
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.capacity import shape_from_config
from triton_vllm_operator.cli.main import app
from triton_vllm_operator.controller.main import review_with
from triton_vllm_operator.kube.errors import Retry
from triton_vllm_operator.plan.inspection_protocol import InspectedModel
from triton_vllm_operator.plan.validation import Rejected
from triton_vllm_operator.webhook.handler import Change, answer
from triton_vllm_operator.webhook.response import AdmissionResponse

Object = dict[str, Any]
SPECS: dict[str, Object] = {
    "ArgumentMisspelt": {"engine": {"extraArgs": {"enable_lroa": True}}},
    "ArgumentUnknown": {"engine": {"extraArgs": {"xyzzy": 1}}},
    "ArgumentMoved": {"engine": {"extraArgs": {"disable_log_requests": True}}, "server": {"release": "26.08"}},
    "ArgumentType": {"engine": {"extraArgs": {"enable_lora": "true"}}},
    "ArgumentHasField": {"engine": {"extraArgs": {"tensor_parallel_size": 2}}},
    "ArgumentsContradict": {"engine": {"extraArgs": {"enable_lora": True, "max_loras": 8, "max_cpu_loras": 4}}},
    "FlagOwned": {"server": {"extraArgs": ["--http-port=9000"]}},
    "ReleaseUnsafe": {"server": {"release": "25.07"}},
    "ReleaseNeedsOptOut": {"server": {"release": "25.12"}},
    "ReleaseContradictsImage": {
        "server": {"image": "nvcr.io/nvidia/tritonserver:26.07-vllm-python-py3", "release": "26.08"}
    },
    "InvalidSpec": {"engine": {"noSuchField": 1}},
}


def changed(world: World, **more: Any) -> Change:
    old = stored(world)
    return Change({**old, "spec": spec(**more)}, old)


async def reviewed(world: World, change: Change) -> AdmissionResponse:
    return await review_with(world.reconciler, world.manager.cluster)(change)


@pytest.mark.parametrize("reason", SPECS)
async def test_a_refusal_is_the_same_in_webhook_status_and_command_line(reason: str, tmp_path: Path) -> None:
    world = await served(spec(**SPECS[reason]))
    obj = stored(world)
    verdict = await reviewed(world, Change({key: obj[key] for key in obj if key != "status"}, None))
    message = answer("1", verdict)["response"]["status"]["message"]
    ready = find(obj["status"]["conditions"], "Ready") or {}
    assert ready["reason"] == reason
    assert message == f"{ready['reason']}: {ready['message']}"
    file = tmp_path / "llm.yaml"
    file.write_text(json.dumps({**obj, "kind": "LLMDeployment"}))
    assert CliRunner().invoke(app, ["render", "-f", str(file)]).stderr == f"error: {message}\n"


@pytest.mark.parametrize("reason", [reason for reason in SPECS if reason != "ArgumentMoved"])
async def test_what_the_webhook_says_is_in_the_golden_file(reason: str) -> None:
    world = await served(spec())
    refusal = (await reviewed(world, changed(world, **SPECS[reason]))).rejected
    assert refusal is not None
    assert f"reject {reason} " in GOLDEN.read_text(encoding="utf-8")
    assert f"\n  {refusal.message}\n" in GOLDEN.read_text(encoding="utf-8")


# -------------------------------------------------------------------------------------------------- the plan


TOO_FEW = {"engine": {"tensorParallelSize": 1}}
"""With it LLAMA_70B does not fit an H100."""


async def refused_in_the_words_of_the_conditions(world: World) -> Rejected:
    """The webhook's refusal of TOO_FEW, once the reconcile has reported the same."""
    refusal = (await reviewed(world, changed(world, **TOO_FEW))).rejected
    assert refusal is not None
    world.api.change((kinds.LLM_DEPLOYMENT, "team", "a"), "user", lambda obj: obj.update(spec=spec(**TOO_FEW)))
    await world.manager.reconcile(world.manager.cluster, kinds.Key("team", "a"))
    conditions = stored(world)["status"]["conditions"]
    for kind in ("Ready", "Fits", "Stalled"):
        told = find(conditions, kind) or {}
        assert (told["reason"], told["message"]) == (refusal.reason, refusal.message)
    return refusal


async def test_a_known_model_that_does_not_fit_is_refused_in_the_words_of_the_condition() -> None:
    world = await planning_world(LLAMA_70B, engine={"tensorParallelSize": 8})
    refusal = await refused_in_the_words_of_the_conditions(world)
    assert refusal.reason == "DoesNotFit"
    again = await reviewed(world, changed(world, **TOO_FEW, replicas=2))
    assert again.allowed, "it did not fit before, so it may be changed"
    assert again.warnings == (f"{refusal.reason}: {refusal.message}",)


async def test_a_driver_too_old_for_the_image_is_told_before_a_pod_waits_for_it() -> None:
    world = await planning_world(LLAMA_8B, driver="530.30.02", engine={"tensorParallelSize": 8})
    refusal = await refused_in_the_words_of_the_conditions(world)
    assert refusal.reason == "DriverTooOld"


async def test_a_model_that_fits_or_is_only_advised_about_is_stored() -> None:
    fits = await planning_world(LLAMA_8B)
    assert await reviewed(fits, changed(fits, **TOO_FEW)) == AdmissionResponse()
    advised = await planning_world(LLAMA_70B)
    told = await reviewed(advised, changed(advised, **TOO_FEW, planning={"mode": "Advise"}))
    assert told.allowed
    assert told.warnings[0].startswith("DoesNotFit: ")
    assert await reviewed(advised, changed(advised, **TOO_FEW, planning={"mode": "Off"})) == AdmissionResponse()


async def test_a_second_deployment_of_a_known_commit_is_planned_before_it_is_stored() -> None:
    world = await planning_world(LLAMA_70B)
    await world.manager.reconcile(world.manager.cluster, kinds.Key("team", "a"))
    new = {**stored(world), "metadata": {"name": "b", "namespace": "team", "uid": "b"}, "status": {}}
    told = await reviewed(world, Change({**new, "spec": spec(**TOO_FEW)}, None))
    assert told.rejected is not None
    assert told.rejected.reason == "DoesNotFit"
    elsewhere = {**new, "spec": spec(**TOO_FEW), "metadata": {**new["metadata"], "namespace": "other"}}
    assert await reviewed(world, Change(elsewhere, None)) == AdmissionResponse(), "another team's model is not reported"


async def test_nothing_is_learnt_from_a_review() -> None:
    """Anybody in the cluster may send one, with any status."""
    world = await planning_world(LLAMA_70B)
    await reviewed(world, changed(world, replicas=2))
    new = {**stored(world), "metadata": {"name": "b", "namespace": "team", "uid": "b"}, "status": {}}
    assert await reviewed(world, Change({**new, "spec": spec(**TOO_FEW)}, None)) == AdmissionResponse()


async def test_a_branch_may_have_moved_on_so_it_only_warns() -> None:
    world = await planning_world(LLAMA_70B)
    llm = LLMDeployment.parse({**stored(world), "spec": {"model": {"uri": "hf://org/model@main"}}})
    world.reconciler.planner.shapes.remember(llm, InspectedModel(COMMIT, shape_from_config(LLAMA_70B)))
    new = {**stored(world), "metadata": {"name": "b", "namespace": "team", "uid": "b"}, "status": {}}
    told = await reviewed(world, Change({**new, "spec": {"model": {"uri": "hf://org/model@main"}, **TOO_FEW}}, None))
    assert told.allowed
    assert told.warnings[0].startswith("DoesNotFit: ")


# ------------------------------------------------------------------------------------------------- the namespace


async def test_a_namespace_that_cannot_be_read_refuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await served(spec())

    async def unreachable(*_: Any) -> Object:
        raise Retry("no answer")

    monkeypatch.setattr(world.manager.cluster.client, "find", unreachable)
    told = await reviewed(world, changed(world, **SPECS["ReleaseNeedsOptOut"]))
    assert told.allowed
    assert told.warnings[0].startswith("ReleaseNeedsOptOut: ")
    assert not (await reviewed(world, changed(world, **SPECS["ReleaseUnsafe"]))).allowed


async def test_without_a_list_of_nodes_no_plan_refuses() -> None:
    world = await planning_world(LLAMA_70B, engine={"tensorParallelSize": 8})
    world.chaos.refused = 1.0
    assert await reviewed(world, changed(world, **TOO_FEW)) == AdmissionResponse()


async def test_an_administrator_can_allow_a_release_and_is_reminded() -> None:
    world = await served(spec())
    annotations = {"serving.triton-vllm.dev/allow-vulnerable-images": "true"}
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team", "annotations": annotations}}
    world.api.create(space, "administrator")
    told = await reviewed(world, changed(world, **SPECS["ReleaseNeedsOptOut"]))
    assert told.allowed
    assert told.warnings[0].startswith("ReleaseOptedOut: ")


async def test_a_review_writes_nothing() -> None:
    world = await planning_world(LLAMA_70B)
    before = len(world.api.writes)
    for more in (*SPECS.values(), TOO_FEW):
        await reviewed(world, changed(world, **more))
    assert len(world.api.writes) == before
