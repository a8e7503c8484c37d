"""Inspection and plan against a real API server. The tests write what a kubelet would: how the pod has ended."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.apiserver.controlplane import ControlPlane
from tests.apiserver.fixtures import StartOperator
from tests.apiserver.inspections import IMAGE, container, fake_result, inspection, inspections
from tests.apiserver.operators import PROVEN, OperatorProcess, eventually
from tests.apiserver.planned import LARGE, ONE_GPU, SMALL, fits, gpu_node, status
from tests.apiserver.view import Object, View, llm
from tests.builders.deployments import H100, H200, LLAMA_70B, node
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.cli.main import app
from triton_vllm_operator.controller.ttl_cache import NODES_KEPT_S
from triton_vllm_operator.plan.inspection_protocol import Failure


@pytest.fixture
def view(plane: ControlPlane, namespace: str) -> Iterator[View]:
    """A namespace in such a cluster."""
    with gpu_node(plane, namespace) as made:
        yield made


@pytest.fixture
def operator(start_operator: StartOperator, view: View) -> OperatorProcess:
    """A running operator that knows its image and leads."""
    started = start_operator(*IMAGE, program=PROVEN)
    eventually("leads and is caught up", lambda: started.leads() and started.ready())
    return started


@pytest.mark.slow
def test_a_model_that_fits_is_served_and_read_once(
    view: View, operator: OperatorProcess, start_operator: StartOperator
) -> None:
    view.apply(llm("a"))
    pod = inspection(view)
    assert view.wait_reason("a", "Inspecting")["status"] == "False"
    assert view.condition("a", "Stalled")["status"] == "False"
    assert view.children() == {}, "no pod may hold a GPU yet"
    fake_result(view, pod, SMALL)
    view.wait_children()
    eventually("the pod is deleted once it is read", lambda: inspections(view) == [])
    assert fits(view) == ("True", "Fits")
    resolved = view.condition("a", "ModelResolved")
    assert (resolved["status"], resolved["reason"]) == ("True", "Resolved")
    found = status(view)
    assert (found["model"]["architecture"], found["model"]["commit"]) == ("LlamaForCausalLM", "c" * 40)
    assert (found["plan"]["verdict"], found["plan"]["gpu"]) == ("Fits", H100[0])
    assert found["plan"]["perGPU"]["kvCacheBytes"]["low"] > 0
    operator.kill()
    since = len(view.plane.audit())
    again = start_operator(*IMAGE, program=PROVEN)
    eventually("the next one leads", lambda: again.leads() and again.ready())
    view.kubectl("scale", "llm/a", "--replicas=2")
    eventually("scaled", lambda: (view.get("deployment", "a") or {})["spec"]["replicas"] == 2)
    assert [verb for verb in view.writes(since) if verb[1] == "pods" and "inspect" in verb[2]] == []
    assert status(view)["plan"] == found["plan"]
    time.sleep(2)
    since = len(view.plane.audit())
    time.sleep(3)
    assert [verb for verb in view.writes(since) if verb[1].startswith("llmdeployments")] == []


def test_a_model_that_does_not_fit_makes_no_pods_until_the_spec_lets_it_fit(
    view: View, operator: OperatorProcess
) -> None:
    view.apply(llm("a", engine=ONE_GPU))
    fake_result(view, inspection(view), LARGE)
    ready = view.wait_reason("a", "DoesNotFit")
    assert "The smallest change that fits: " in ready["message"]
    assert view.condition("a", "Stalled")["status"] == "True"
    assert fits(view) == ("False", "DoesNotFit")
    assert status(view)["plan"]["suggestions"]
    assert view.children() == {}
    eventually("the pod is deleted once it is read", lambda: inspections(view) == [])
    changes = status(view)["plan"]["suggestions"][0]["changes"]
    engine = {key.removeprefix("engine."): value for key, value in changes.items() if key.startswith("engine.")}
    assert engine, changes
    view.kubectl("patch", "llm", "a", "--type=merge", "-p", json.dumps({"spec": {"engine": engine}}))
    view.wait_children()
    assert fits(view) == ("True", "Fits")
    assert inspections(view) == [], "the model was known"


def test_advice_makes_the_pods_all_the_same(view: View, operator: OperatorProcess) -> None:
    view.apply(llm("a", planning={"mode": "Advise"}, engine=ONE_GPU))
    fake_result(view, inspection(view), LARGE)
    view.wait_children()
    eventually("advice", lambda: fits(view) == ("False", "DoesNotFit"))
    assert len(view.children()) == 5
    assert view.condition("a")["reason"] != "DoesNotFit"
    events = json.loads(view.kubectl("get", "events.events.k8s.io", "-o", "json"))["items"]
    assert [e["type"] for e in events if e["reason"] == "DoesNotFit"] == ["Warning"]


def test_planning_that_is_off_reads_nothing(view: View, operator: OperatorProcess) -> None:
    view.apply(llm("a", planning={"mode": "Off"}))
    view.wait_children()
    eventually("reported", lambda: fits(view) == ("Unknown", "PlanningOff"))
    assert inspections(view) == []


def test_a_gated_model_is_reported_and_heals_with_the_next_attempt(view: View, operator: OperatorProcess) -> None:
    view.apply(llm("a"))
    fake_result(view, inspection(view), Failure(Reason.MODEL_GATED, "org/model is gated. Give a token."))
    ready = view.wait_reason("a", "ModelGated")
    assert ready["message"] == "org/model is gated. Give a token."
    assert view.condition("a", "Stalled")["status"] == "True"
    assert view.condition("a", "ModelResolved")["status"] == "False"
    assert view.children() == {}
    second = inspection(view, attempt=1)
    assert view.condition("a")["reason"] == "ModelGated", "it stands until it is proven wrong"
    fake_result(view, second, SMALL)
    view.wait_children()
    assert fits(view) == ("True", "Fits")


def test_a_hub_that_does_not_answer_holds_nothing_back(view: View, operator: OperatorProcess) -> None:
    view.apply(llm("a"))
    fake_result(view, inspection(view), Failure(Reason.HUB_UNREACHABLE, "No answer."))
    view.wait_children()
    assert fits(view) == ("Unknown", "HubUnreachable")
    assert view.condition("a", "ModelResolved")["status"] == "Unknown"


def test_a_hub_that_answers_later_is_chosen_by_while_no_pod_has_served(view: View, operator: OperatorProcess) -> None:
    view.apply(llm("a"))
    fake_result(view, inspection(view), Failure(Reason.HUB_UNREACHABLE, "No answer."))
    view.wait_children()
    assert gpus(view) == "1"
    fake_result(view, inspection(view, attempt=1), LARGE)
    eventually("chosen", lambda: gpus(view) == "4")
    eventually("reported", lambda: fits(view) == ("True", "Fits"))
    assert status(view)["chosen"]["tensorParallelSize"] == 4


def test_a_secret_that_is_missing_is_reported_before_a_serving_pod_exists(
    view: View, operator: OperatorProcess
) -> None:
    view.apply(llm("a", model={"uri": "hf://org/model", "tokenSecretRef": {"name": "hub-token"}}))
    pod = inspection(view)
    references = [e["valueFrom"]["secretKeyRef"] for e in container(view)["env"] if e["name"] == "HF_TOKEN"]
    assert references == [{"name": "hub-token", "key": "token"}]
    waiting = {"reason": "CreateContainerConfigError", "message": 'secret "hub-token" not found'}
    state = {"name": "inspect", "image": "i", "imageID": "", "ready": False, "restartCount": 0}
    view.fake_pod_status(pod, {"phase": "Pending", "containerStatuses": [{**state, "state": {"waiting": waiting}}]})
    ready = view.wait_reason("a", "SecretNotFound")
    assert "Secret hub-token does not exist" in ready["message"]
    assert view.children() == {}
    view.fake_pod_status(pod, {"phase": "Failed", "reason": "DeadlineExceeded", "containerStatuses": []})
    inspection(view, attempt=1)
    assert view.condition("a")["reason"] == "SecretNotFound", "the deadline of the pod has disproved nothing"
    assert view.children() == {}


def test_advice_about_a_model_that_cannot_be_read_holds_nothing_back(view: View, operator: OperatorProcess) -> None:
    view.apply(llm("a", planning={"mode": "Advise"}))
    fake_result(view, inspection(view), Failure(Reason.MODEL_GATED, "org/model is gated. Give a token."))
    view.wait_children()
    eventually("reported", lambda: view.condition("a", "ModelResolved").get("reason") == "ModelGated")
    assert view.condition("a")["reason"] != "ModelGated"


@pytest.mark.slow
def test_what_runs_already_is_never_taken_away(view: View, start_operator: StartOperator) -> None:
    before = start_operator(program=PROVEN)
    eventually("leads", lambda: before.leads() and before.ready())
    view.apply(llm("a"))
    children = view.wait_children()
    eventually("not planned", lambda: fits(view) == ("Unknown", "NotPlanned"))
    done = {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}
    served = json.dumps({"status": {"conditions": [done]}})
    view.kubectl("patch", "deployment", "a", "--subresource=status", "--type=merge", "-p", served)
    before.kill()
    start_operator(*IMAGE, program=PROVEN)
    fake_result(view, inspection(view), LARGE)
    eventually("reported", lambda: fits(view) == ("False", "DoesNotFit"))
    assert view.condition("a")["reason"] != "DoesNotFit"
    assert _generations(view.children()) == _generations(children)
    assert set(status(view)["chosen"]) == {"basis"}, "the operator before chose nothing, and that stands"


def _generations(children: dict[Any, Object]) -> dict[Any, int]:
    return {key: child["metadata"].get("generation", 0) for key, child in children.items()}


def test_another_model_in_the_same_deployment_waits_while_the_old_one_serves(
    view: View, operator: OperatorProcess
) -> None:
    view.apply(llm("a"))
    fake_result(view, inspection(view), SMALL)
    children = view.wait_children()
    eventually("read", lambda: inspections(view) == [])
    view.apply(llm("a", model={"uri": "hf://org/large"}, engine=ONE_GPU))
    fake_result(view, inspection(view), LARGE)
    view.wait_reason("a", "DoesNotFit")
    assert _generations(view.children()) == _generations(children)
    assert status(view)["model"]["commit"] == "d" * 40


def test_a_claim_without_a_volume_gets_no_pod_of_ours(view: View, operator: OperatorProcess) -> None:
    view.apply(llm("a", model={"uri": "pvc://models/llama"}))
    view.wait_children()
    eventually("reported", lambda: fits(view) == ("Unknown", "ClaimNotFound"))
    assert inspections(view) == []


def test_pods_of_a_changed_model_are_replaced(view: View, operator: OperatorProcess) -> None:
    view.apply(llm("a"))
    first = inspection(view)
    view.apply(llm("a", model={"uri": "hf://org/other"}))
    eventually("another pod alone", lambda: len(inspections(view)) == 1 and inspection(view) != first)
    assert container(view)["args"] == ["--repository=org/other"]


def test_a_namespace_that_takes_no_more_pods_holds_nothing_back(view: View, operator: OperatorProcess) -> None:
    path = f"/api/v1/namespaces/{view.namespace}/resourcequotas"
    view.plane.must("POST", path, {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "0"}}})
    used = {"used": {"pods": "0"}}.items()
    eventually("the quota counts", lambda: used <= view.plane.must("GET", f"{path}/q").get("status", {}).items())
    view.apply(llm("a"))
    view.wait_children()
    eventually("reported", lambda: fits(view) == ("Unknown", "InspectionRefused"))
    assert "exceeded quota" in view.condition("a", "Fits")["message"]


# ------------------------------------------------------------------------------------------ what is left open


def engine_arguments(view: View) -> dict[str, Any]:
    """model.json of the only model repository."""
    [config_map] = [child for (kind, _), child in view.children().items() if kind == "ConfigMap"]
    found: dict[str, Any] = json.loads(config_map["data"]["model.json"])
    return found


def gpus(view: View) -> str:
    """GPUs that a pod of the Deployment asks for."""
    [container] = (view.get("deployment", "a") or {})["spec"]["template"]["spec"]["containers"]
    return str(container["resources"]["limits"]["nvidia.com/gpu"])


CHOSEN = {"tensorParallelSize": 4, "maxModelLen": 131072, "maxNumBatchedTokens": 8192, "maxNumSeqs": 1024}


def served_with_a_choice(view: View) -> dict[Any, Object]:
    """LARGE, with all that can be left open left open; its children."""
    view.apply(llm("a"))
    fake_result(view, inspection(view), LARGE)
    children = view.wait_children()
    eventually("the pod is deleted once it is read", lambda: inspections(view) == [])
    assert {key: value for key, value in status(view)["chosen"].items() if key != "basis"} == CHOSEN
    return children


def test_what_the_spec_leaves_open_is_chosen_and_written_out(view: View, operator: OperatorProcess) -> None:
    served_with_a_choice(view)
    written = engine_arguments(view)
    assert (written["tensor_parallel_size"], written["max_model_len"]) == (4, 131072)
    assert (written["max_num_batched_tokens"], written["max_num_seqs"]) == (8192, 1024)
    assert gpus(view) == "4"
    found = status(view)
    assert (found["gpusPerReplica"], found["plan"]["gpusPerReplica"]) == (4, 4)
    assert (found["plan"]["verdict"], found["plan"]["maxModelLen"]) == ("Fits", 131072)
    assert not {"tensorParallelSize", "maxModelLen"} & set((view.get("llm", "a") or {})["spec"]["engine"])


def test_the_command_line_says_the_same_of_the_same_cluster(
    view: View, operator: OperatorProcess, tmp_path: Path
) -> None:
    served_with_a_choice(view)
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_70B))
    (tmp_path / "llm.json").write_text(json.dumps(llm("a")))
    options = ["-f", str(tmp_path / "llm.json"), "--model-dir", str(tmp_path), "-o", "json"]
    login = ["--cluster", "--kubeconfig", str(view.plane.kubeconfig)]
    result = CliRunner().invoke(app, ["plan", *options, *login], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    body = json.loads(result.stdout)
    assert body.pop("chosen") == status(view)["chosen"]
    assert body == status(view)["plan"]


def become(view: View, card: tuple[str, int, str, str]) -> None:
    """The cluster's only node has other GPUs from now on."""
    labels = [f"{key}={value}" for key, value in node(card)["metadata"]["labels"].items()]
    view.plane.kubectl("label", "node", f"gpu-{view.namespace}", "--overwrite", *labels)


def forget(view: View) -> None:
    """The status is lost, as after a restore from a backup."""
    view.kubectl(
        "patch", "llm", "a", "--subresource=status", "--type=json", "-p", '[{"op": "remove", "path": "/status"}]'
    )


@pytest.mark.slow
@pytest.mark.parametrize("options", [IMAGE, ()], ids=["planning on", "planning off"])
def test_a_choice_outlives_the_operator_the_status_and_the_gpus_it_was_made_for(
    view: View, operator: OperatorProcess, start_operator: StartOperator, options: tuple[str, ...]
) -> None:
    children = served_with_a_choice(view)
    operator.kill()
    become(view, H200)
    forget(view)
    again = start_operator(*options, program=PROVEN)
    eventually("the next one leads", lambda: again.leads() and again.ready())
    eventually("a status", lambda: status(view) != {})
    if options:
        fake_result(view, inspection(view), LARGE)
        eventually("planned", lambda: status(view).get("plan", {}).get("gpu") == H200[0])
    view.kubectl("scale", "llm/a", "--replicas=2")
    eventually("scaled", lambda: (view.get("deployment", "a") or {})["spec"]["replicas"] == 2)
    assert {key: value for key, value in status(view)["chosen"].items() if key != "basis"} == CHOSEN
    assert gpus(view) == "4"
    assert set(view.children()) == set(children), "the model repository is the same"


@pytest.mark.slow
def test_a_change_of_what_it_depends_on_chooses_anew(view: View, operator: OperatorProcess) -> None:
    served_with_a_choice(view)
    become(view, H200)
    view.kubectl("patch", "llm", "a", "--type=merge", "-p", '{"spec": {"server": {"logLevel": "Warning"}}}')
    eventually("rolled", lambda: (view.get("deployment", "a") or {})["metadata"]["generation"] == 2)
    assert gpus(view) == "4"
    time.sleep(NODES_KEPT_S + 1)  # the list of nodes is used for so long
    view.kubectl("patch", "llm", "a", "--type=merge", "-p", '{"spec": {"engine": {"maxModelLen": 4096}}}')
    eventually("fewer of the larger GPUs", lambda: gpus(view) == "2")
    eventually("the status says so", lambda: status(view)["chosen"]["tensorParallelSize"] == 2)
    assert "maxModelLen" not in status(view)["chosen"]


def test_a_deployment_that_somebody_deleted_comes_back_as_it_was(view: View, operator: OperatorProcess) -> None:
    served_with_a_choice(view)
    become(view, H200)
    view.kubectl("delete", "deployment", "a")
    view.wait_children()
    assert gpus(view) == "4"
