"""Rollouts: the operator's steps, taken by the real Deployment controller. Nodes are a stand-in."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.apiserver.controlplane import ControlPlane
from tests.apiserver.fixtures import StartOperator
from tests.apiserver.gpus import hold
from tests.apiserver.operators import PROVEN, OperatorProcess, eventually
from tests.apiserver.scheduling import BROKEN, OneNode, one_node
from tests.apiserver.view import Object, View, llm
from triton_vllm_operator.api import kinds

TEAM = {"name": "TEAM", "value": "search"}
OTHER = {"name": "TEAM", "value": "chat"}


@pytest.fixture
def one_gpu(plane: ControlPlane, namespace: str) -> Iterator[OneNode]:
    with one_node(plane, namespace, 1) as made:
        yield made


@pytest.fixture
def two_gpus(plane: ControlPlane, namespace: str) -> Iterator[OneNode]:
    with one_node(plane, namespace, 2) as made:
        yield made


@pytest.fixture
def three_gpus(plane: ControlPlane, namespace: str) -> Iterator[OneNode]:
    with one_node(plane, namespace, 3) as made:
        yield made


def apply(view: View, *env: Object, replicas: int = 1, server: Object | None = None, **rollout: Any) -> None:
    """Apply an LLMDeployment whose pods run on this test's node with these variables."""
    spec = {
        "server": server or {},
        "planning": {"mode": "Off"},
        "replicas": replicas,
        "scheduling": {"nodeSelector": {"kubernetes.io/hostname": view.namespace}},
        "podTemplate": {"env": list(env)},
        **({"rollout": rollout} if rollout else {}),
    }
    view.apply(llm("a", **spec))


def served(view: View, revision: int) -> None:
    """Wait until all pods run a revision and have served."""

    def done() -> bool:
        status = (view.get("llm", "a") or {}).get("status", {})
        rollout = status.get("rollout", {})
        return (rollout.get("revision"), rollout.get("step")) == (revision, "Complete") and view.condition("a").get(
            "status"
        ) == "True"

    eventually(f"revision {revision} serves", done)


def wait_step(view: View, step: str) -> Object:
    """Wait for a step of the rollout; its status."""
    eventually(f"step {step}", lambda: rollout_of(view).get("step") == step)
    return rollout_of(view)


def rollout_of(view: View) -> Object:
    found: Object = (view.get("llm", "a") or {}).get("status", {}).get("rollout", {})
    return found


def kubectl_llm(view: View, *words: str) -> str:
    """What `kubectl llm rollout` prints."""
    command = [sys.executable, "-m", "triton_vllm_operator", "rollout", *words, "-n", view.namespace]
    done = subprocess.run(
        [*command, "--kubeconfig", str(view.plane.kubeconfig)], check=False, capture_output=True, text=True
    )
    return done.stdout + done.stderr


def revisions(view: View) -> list[Object]:
    return view.all_of(kinds.REVISION)


def pod_names(view: View) -> set[str]:
    return {pod["metadata"]["name"] for pod in view.pods() if "pod-template-hash" in pod["metadata"]["labels"]}


def test_with_a_free_gpu_a_new_pod_serves_before_the_old_one_goes(
    view: View, two_gpus: OneNode, operator: OperatorProcess
) -> None:
    apply(view, TEAM)
    served(view, 1)
    two_gpus.watch()
    apply(view, OTHER)
    served(view, 2)
    assert two_gpus.least_ready == 1
    assert two_gpus.most_placed == 2
    assert view.condition("a", "UpToDate")["reason"] == "RevisionDeployed"
    assert len(revisions(view)) == 2
    table = kubectl_llm(view, "history", "a")
    assert '2         served   podTemplate.env: [{"name": "TEAM", "value": "search"}] -> ' in table


def test_without_a_free_gpu_one_pod_is_replaced_at_a_time(
    view: View, two_gpus: OneNode, operator: OperatorProcess
) -> None:
    apply(view, TEAM, replicas=2)
    served(view, 1)
    two_gpus.watch()
    apply(view, OTHER, replicas=2)
    told = wait_step(view, "Replacing")
    assert told["minReadyPods"] == 1
    assert told["podsToReplace"] > 0
    served(view, 2)
    assert two_gpus.least_ready == 1
    assert two_gpus.most_placed == 2


def test_the_only_pod_is_kept_until_the_user_accepts_the_gap(
    view: View, one_gpu: OneNode, operator: OperatorProcess
) -> None:
    apply(view, TEAM)
    served(view, 1)
    before = pod_names(view)
    apply(view, OTHER)
    wait_step(view, "Held")
    condition = view.condition("a", "UpToDate")
    assert condition["reason"] == view.condition("a")["reason"] == "RolloutHeld"
    assert f"kubectl llm rollout proceed a -n {view.namespace}" in condition["message"]
    assert "spec.rollout.strategy to Replace" in condition["message"]
    assert view.condition("a", "Available")["status"] == "True"
    since = len(view.plane.audit())
    time.sleep(3)
    assert view.writes(since) == [], "nothing is written while it waits"
    assert pod_names(view) == before
    assert "goes on" in kubectl_llm(view, "proceed", "a")
    served(view, 2)
    assert one_gpu.most_placed == 1
    assert "does not wait" in kubectl_llm(view, "proceed", "a")
    apply(view, TEAM)
    wait_step(view, "Held")
    apply(view, OTHER)
    served(view, 4)
    assert one_gpu.most_placed == 1


def test_the_pod_of_a_failed_attempt_gives_its_gpu_to_the_corrected_one(
    view: View, two_gpus: OneNode, operator: OperatorProcess
) -> None:
    apply(view, TEAM)
    served(view, 1)
    apply(view, BROKEN, onFailure="Hold")
    wait_step(view, "Failed")
    two_gpus.watch()
    apply(view, OTHER)
    served(view, 3)
    assert two_gpus.least_ready == 1
    assert two_gpus.most_placed == 2


def test_a_revision_that_was_too_late_has_all_its_time_again_when_the_user_proceeds(
    view: View, two_gpus: OneNode, operator: OperatorProcess
) -> None:
    apply(view, TEAM)
    served(view, 1)
    two_gpus.places = False
    apply(view, OTHER, progressDeadlineSeconds=25, onFailure="Hold")
    wait_step(view, "Failed")
    assert "goes on" in kubectl_llm(view, "proceed", "a")
    wait_step(view, "Surging")
    time.sleep(4)
    assert rollout_of(view)["step"] == "Surging"
    two_gpus.places = True
    served(view, 2)


def test_characters_of_any_plane_of_unicode_are_applied(
    view: View, one_gpu: OneNode, operator: OperatorProcess
) -> None:
    apply(view, TEAM)
    greeting = {"name": "GREETING", "value": "Grüße \U0001f389 \u65e5\u672c"}
    change = json.dumps(
        {"spec": {"podTemplate": {"env": [greeting]}, "rollout": {"strategy": "Replace"}}}, ensure_ascii=False
    )
    view.kubectl("patch", "llm", "a", "--type=merge", "-p", change)
    served(view, 2)
    (pod,) = [one for one in view.pods() if "pod-template-hash" in one["metadata"]["labels"]]
    assert greeting in pod["spec"]["containers"][0]["env"]


def test_a_held_rollout_goes_on_when_a_gpu_is_free(view: View, two_gpus: OneNode, operator: OperatorProcess) -> None:
    hold(view, "other", view.namespace, 1)
    apply(view, TEAM)
    served(view, 1)
    apply(view, OTHER)
    wait_step(view, "Held")
    two_gpus.watch()
    view.plane.must("DELETE", kinds.POD.path(view.namespace, "other"), {"gracePeriodSeconds": 0})
    eventually("revision 2", lambda: rollout_of(view).get("step") == "Complete", limit_s=120)
    assert two_gpus.least_ready == 1


def test_a_surge_pod_whose_gpu_is_taken_replaces_an_old_one(
    view: View, three_gpus: OneNode, operator: OperatorProcess
) -> None:
    apply(view, TEAM, replicas=2)
    served(view, 1)
    three_gpus.places = False
    apply(view, OTHER, replicas=2)
    wait_step(view, "Surging")
    eventually("a third pod", lambda: len(pod_names(view)) == 3)
    hold(view, "other", view.namespace, 1)
    three_gpus.watch()
    three_gpus.places = True
    served(view, 2)
    assert three_gpus.least_ready == 1
    assert three_gpus.most_placed == 3


@pytest.mark.parametrize("gpus", ["one_gpu_more", "full"])
def test_a_revision_that_fails_is_undone_and_not_tried_again(
    view: View, three_gpus: OneNode, operator: OperatorProcess, gpus: str
) -> None:
    replicas = 2 if gpus == "one_gpu_more" else 3
    apply(view, TEAM, replicas=replicas)
    served(view, 1)
    before = pod_names(view)
    three_gpus.watch()
    apply(view, TEAM, BROKEN, replicas=replicas)
    wait_step(view, "Undone")
    condition = view.condition("a", "UpToDate")
    assert condition["reason"] == view.condition("a")["reason"] == "RolloutUndone"
    assert "Revision 2 failed" in condition["message"]
    assert "--no-such" in condition["message"]
    eventually("all replicas serve", lambda: view.condition("a", "Available")["status"] == "True")
    assert three_gpus.least_ready == 2
    assert len(pod_names(view) & before) >= 2, "no pod was replaced but the one that made room"
    three_gpus.watch()
    since = len(view.plane.audit())
    view.kubectl("annotate", "llm", "a", "touched=yes")
    time.sleep(4)
    assert [write for write in view.writes(since) if write[1] != "llmdeployments"] == []
    assert three_gpus.least_ready == replicas
    apply(view, OTHER, replicas=replicas)
    served(view, 3)


def test_a_failed_revision_is_held_where_the_user_wants_it(
    view: View, two_gpus: OneNode, operator: OperatorProcess
) -> None:
    apply(view, TEAM)
    served(view, 1)
    apply(view, BROKEN, onFailure="Hold")
    wait_step(view, "Failed")
    assert view.condition("a", "UpToDate")["reason"] == "RolloutFailed"
    assert len(pod_names(view)) == 2, "the old pod serves, and the new one can be examined"
    assert "spec is that of revision 1 again" in kubectl_llm(view, "undo", "a")
    served(view, 3)
    found = view.get("llm", "a")
    assert found is not None
    assert found["spec"]["rollout"]["onFailure"] == "Hold"
    assert found["spec"]["podTemplate"]["env"] == [TEAM]


def test_a_revision_whose_image_is_no_longer_allowed_is_not_restored(
    view: View, two_gpus: OneNode, operator: OperatorProcess
) -> None:
    allowed = "serving.triton-vllm.dev/allow-vulnerable-images"
    view.kubectl("annotate", "namespace", view.namespace, f"{allowed}=true")
    apply(view, TEAM, server={"release": "26.03"})
    served(view, 1)
    view.kubectl("annotate", "namespace", view.namespace, f"{allowed}-")
    apply(view, TEAM, BROKEN)
    wait_step(view, "Failed")
    message = view.condition("a", "UpToDate")["message"]
    assert "Revision 1 is not restored: ReleaseNeedsOptOut" in message
    assert f'{allowed}: "true"' in message, "it says what to write"
    assert "rollout undo" not in message, "which would be refused"
    assert "revision 1 cannot be restored" in kubectl_llm(view, "undo", "a")
    assert view.condition("a", "Available")["status"] == "True", "its pod serves on"


def test_a_revision_that_is_not_ready_in_time_is_undone(
    view: View, two_gpus: OneNode, operator: OperatorProcess
) -> None:
    apply(view, TEAM)
    served(view, 1)
    two_gpus.places = False
    apply(view, OTHER, strategy="Surge", progressDeadlineSeconds=10)
    wait_step(view, "Undone")
    assert "within the progress deadline" in view.condition("a", "UpToDate")["message"]
    eventually("the new pod is gone", lambda: len(pod_names(view)) == 1)


def test_a_paused_rollout_replaces_nothing_until_it_is_resumed(
    view: View, two_gpus: OneNode, operator: OperatorProcess
) -> None:
    apply(view, TEAM)
    served(view, 1)
    assert "paused is true" in kubectl_llm(view, "pause", "a")
    view.kubectl("patch", "llm", "a", "--type=merge", "-p", json.dumps({"spec": {"podTemplate": {"env": [OTHER]}}}))
    wait_step(view, "Paused")
    time.sleep(2)
    assert len(pod_names(view)) == 1
    assert "RolloutPaused" in kubectl_llm(view, "status", "a")
    assert "paused is false" in kubectl_llm(view, "resume", "a")
    served(view, 2)


def test_a_rollout_that_is_paused_on_the_way_keeps_old_and_new_pods(
    view: View, two_gpus: OneNode, operator: OperatorProcess
) -> None:
    apply(view, TEAM)
    served(view, 1)
    two_gpus.places = False
    apply(view, OTHER)
    eventually("a further pod", lambda: len(pod_names(view)) == 2)
    both = pod_names(view)
    kubectl_llm(view, "pause", "a")
    wait_step(view, "Paused")
    two_gpus.places = True
    eventually("both pods are ready", lambda: two_gpus.ready == 2)
    time.sleep(4)
    assert pod_names(view) == both
    assert rollout_of(view)["step"] == "Paused"
    kubectl_llm(view, "resume", "a")
    served(view, 2)
    assert len(pod_names(view)) == 1


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_an_operator_that_is_killed_at_its_writes_ends_a_failed_rollout_the_same(
    view: View, two_gpus: OneNode, start_operator: StartOperator, number: int
) -> None:
    operator = start_operator(program=PROVEN)
    apply(view, TEAM)
    served(view, 1)
    before = pod_names(view)
    two_gpus.watch()
    since = len(view.plane.audit())
    apply(view, BROKEN)
    eventually("a write", lambda: len(own_writes(view, since)) > number, every_s=0.01)
    operator.kill()
    operator.start()
    wait_step(view, "Undone")
    eventually("the one pod of before", lambda: pod_names(view) == before)
    assert two_gpus.least_ready == 1
    assert two_gpus.most_placed == 2
    assert len(revisions(view)) == 2


def own_writes(view: View, since: int) -> list[tuple[str, str, str]]:
    return [write for write in view.writes(since) if write[1] in ("controllerrevisions", "deployments")]
