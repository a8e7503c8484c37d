"""`kubectl llm explain`, as a user runs it: a kubectl plugin, against a real cluster with a real operator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.apiserver import rights
from tests.apiserver.controlplane import ControlPlane
from tests.apiserver.fixtures import StartOperator
from tests.apiserver.gpus import UNSCHEDULABLE, hold, namespace_there, node_there, serving_pod_gets
from tests.apiserver.inspections import IMAGE, fake_result, inspection
from tests.apiserver.kubelet import pod_ready, pod_waiting
from tests.apiserver.operators import PROVEN, SOURCES, OperatorProcess, eventually
from tests.apiserver.planned import LARGE, ONE_GPU, SMALL
from tests.apiserver.view import Object, View, llm
from tests.builders.deployments import H100, node

UNPLANNED = {"planning": {"mode": "Off"}}


@dataclass(frozen=True)
class Output:
    """Output of the command: its exit code, its lines as (mark, name, text), and its errors."""

    code: int
    steps: list[tuple[str, str, str]]
    errors: str

    def marks(self) -> str:
        return ", ".join(f"{name} {mark}" for mark, name, _ in self.steps)

    def text(self, name: str) -> str:
        [text] = [text for _, found, text in self.steps if found == name]
        return text


def explain(view: View, name: str = "a", kubeconfig: Path | None = None) -> Output:
    """`kubectl llm explain NAME`, by the administrator or with another kubeconfig."""
    kubectl = view.plane.programs["kubectl"]
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": SOURCES,
        "KUBECONFIG": str(kubeconfig or view.plane.kubeconfig),
    }
    command = [str(kubectl), "llm", "explain", name, "--namespace", view.namespace]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    lines = [line.strip().split(None, 2) for line in done.stdout.splitlines()]
    return Output(done.returncode, [(mark, title, text) for mark, title, text in lines], done.stderr)


@pytest.fixture
def view(plane: ControlPlane, namespace: str) -> Iterator[View]:
    """A namespace in a cluster with one node of eight H100, which has the name of the namespace."""
    with node_there(plane, namespace, node(H100)):
        yield View(plane, namespace)


@pytest.fixture
def operator(start_operator: StartOperator, view: View) -> OperatorProcess:
    """A running operator that knows its image and leads."""
    started = start_operator(*IMAGE, program=PROVEN)
    eventually("leads and is caught up", lambda: started.leads() and started.ready())
    return started


def pod_of(view: View, obj: Object, status: Object) -> None:
    """Apply an LLMDeployment and write the status of its pod."""
    view.apply(obj)
    serving_pod_gets(view, status)


def test_one_that_serves_is_ready_in_every_step(view: View, operator: OperatorProcess) -> None:
    view.apply(llm("a"))
    fake_result(view, inspection(view), SMALL)
    serving_pod_gets(view, pod_ready())
    view.wait_reason("a", "Serving")
    shown = explain(view)
    assert shown.marks() == "Operator ok, Image ?, Model ok, Plan ok, Pods ok, Ready ok"
    assert shown.text("Model").startswith("Resolved: LlamaForCausalLM, 32 layers")
    assert shown.text("Pods") == "1 of 1 are ready"
    assert (shown.code, shown.errors) == (0, "")


def test_one_that_does_not_fit_is_reported_with_the_change_that_does_and_blames_no_pods(
    view: View, operator: OperatorProcess
) -> None:
    view.apply(llm("a", engine=ONE_GPU))
    fake_result(view, inspection(view), LARGE)
    view.wait_reason("a", "DoesNotFit")
    shown = explain(view)
    assert shown.marks() == "Operator ok, Image ?, Model ok, Plan no, Ready no"
    assert "The smallest change that fits: set engine.tensorParallelSize: " in shown.text("Plan")
    assert (shown.code, shown.errors) == (3, "")


def test_one_that_waits_for_gpus_is_reported_with_who_holds_them(view: View, operator: OperatorProcess) -> None:
    with namespace_there(view.plane, f"others-{view.namespace}") as others:
        hold(others, "train", view.namespace, 7)
        pod_of(view, llm("a", engine={"tensorParallelSize": 2}, **UNPLANNED), UNSCHEDULABLE)
        view.wait_reason("a", "InsufficientGPUs")
        shown = explain(view)
        assert shown.marks() == "Operator ok, Image ?, Model ?, Plan ?, Pods no, Ready no"
        assert "InsufficientGPUs: A pod needs 2 nvidia.com/gpu on one node. " in shown.text("Pods")
        assert f"held by pod {others.namespace}/train 7" in shown.text("Pods")
        assert "train" not in shown.text("Ready"), "the operator serves this namespace only"
        assert (shown.code, shown.errors) == (3, "")


def test_one_whose_model_needs_a_secret_that_is_missing(view: View, operator: OperatorProcess) -> None:
    view.apply(llm("a", model={"uri": "hf://org/model", "tokenSecretRef": {"name": "hub-token"}}))
    waiting = {
        "state": {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "hub-token" not found'}}
    }
    container = {"name": "inspect", "image": "i", "imageID": "", "ready": False, "restartCount": 0, **waiting}
    view.fake_pod_status(inspection(view), {"phase": "Pending", "containerStatuses": [container]})
    view.wait_reason("a", "SecretNotFound")
    shown = explain(view)
    assert shown.marks() == "Operator ok, Image ?, Model no, Plan ?, Ready no"
    assert "Secret hub-token does not exist in namespace" in shown.text("Model")
    assert (shown.code, shown.errors) == (3, "")


def test_one_whose_pod_needs_a_secret_that_is_missing(view: View, operator: OperatorProcess) -> None:
    missing = pod_waiting("CreateContainerConfigError", 'secret "hub-token" not found')
    pod_of(view, llm("a", **UNPLANNED), missing)
    view.wait_reason("a", "SecretNotFound")
    shown = explain(view)
    assert shown.marks() == "Operator ok, Image ?, Model ?, Plan ?, Pods no, Ready no"
    assert shown.text("Pods").startswith("SecretNotFound: Secret hub-token does not exist in namespace")
    assert shown.code == 3


# ------------------------------------------------------------------------------------------- what a user may see

READS = [
    {"apiGroups": ["serving.triton-vllm.dev"], "resources": ["llmdeployments"], "verbs": ["get"]},
    {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["pods", "events"], "verbs": ["list"]},
]


def user(view: View, name: str, rules: list[Object]) -> Path:
    """The kubeconfig of a user with these rights in the namespace."""
    view.kubectl("create", "serviceaccount", name)
    head = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name}}
    view.kubectl("create", "-f", "-", stdin=json.dumps({**head, "rules": rules}))
    view.kubectl("create", "rolebinding", name, f"--role={name}", f"--serviceaccount={view.namespace}:{name}")
    return view.plane.kubeconfig_for(f"{name}-{view.namespace}", rights.token(view.plane, view.namespace, name))


def test_a_user_of_the_namespace_is_reported_what_is_seen_from_there(view: View, operator: OperatorProcess) -> None:
    pod_of(view, llm("a", **UNPLANNED), UNSCHEDULABLE)
    view.wait_reason("a", "InsufficientGPUs")
    shown = explain(view, kubeconfig=user(view, "reader", READS))
    assert shown.text("Pods").startswith(
        "InsufficientGPUs: Who holds the GPUs is not known: the nodes may not be listed."
    )
    assert "Of 8 NVIDIA-H100-80GB-HBM3, " in shown.text("Ready"), "the operator may list the nodes"
    assert (shown.code, shown.errors) == (3, "")


def test_a_user_who_may_not_list_the_pods_gets_what_the_operator_has_reported(
    view: View, operator: OperatorProcess
) -> None:
    pod_of(view, llm("a", **UNPLANNED), UNSCHEDULABLE)
    view.wait_reason("a", "InsufficientGPUs")
    shown = explain(view, kubeconfig=user(view, "glance", READS[:1]))
    assert shown.marks() == "Operator ok, Image ?, Model ?, Plan ?, Pods ?, Ready no"
    assert shown.text("Pods").startswith("access denied: ")
    assert shown.code == 3


def test_a_user_without_any_right_is_reported_which_is_missing(view: View, operator: OperatorProcess) -> None:
    view.apply(llm("a", **UNPLANNED))
    shown = explain(view, kubeconfig=user(view, "no-rights", []))
    assert (shown.code, shown.steps) == (2, [])
    assert shown.errors.startswith("error: access denied: ")
    assert "llmdeployments" in shown.errors


def test_a_name_that_does_not_exist_is_reported(view: View) -> None:
    shown = explain(view, "b")
    assert (shown.code, shown.steps) == (2, [])
    missing = f"LLMDeployment b not found in namespace {view.namespace}"
    assert shown.errors == f"error: {missing}; kubectl get llm -A lists all\n"


def test_without_an_operator_it_says_that_none_has_looked(view: View) -> None:
    view.apply(llm("a"))
    shown = explain(view)
    assert shown.marks().startswith("Operator no")
    assert "is it running?" in shown.text("Operator")
    assert shown.code == 3
