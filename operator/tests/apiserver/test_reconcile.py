"""The real reconcile against a real API server and real controllers. Pod status is written by the tests (fake)."""

from __future__ import annotations

import json
import time

import pytest

from tests.apiserver.fixtures import StartOperator
from tests.apiserver.kubelet import pod_ready, pod_waiting
from tests.apiserver.operators import PROVEN, OperatorProcess, eventually
from tests.apiserver.view import Object, View, llm


def pod_unschedulable(message: str) -> Object:
    scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {"phase": "Pending", "conditions": [scheduled]}


def one_pod(view: View) -> str:
    """Name of the only live pod."""
    eventually("one pod", lambda: len(view.pods()) == 1)
    return str(view.pods()[0]["metadata"]["name"])


def deployment(view: View, name: str = "a") -> Object:
    found = view.get("deployment", name)
    assert found is not None
    return found


def config_map_mounted(obj: Object) -> set[str]:
    volumes = obj["spec"]["template"]["spec"]["volumes"]
    return {volume["configMap"]["name"] for volume in volumes if "configMap" in volume}


def test_the_shortest_resource_gets_five_children_of_its_own(view: View, operator: OperatorProcess) -> None:
    view.apply(llm("a"))
    view.wait_children()
    assert view.kinds() == ["ConfigMap", "Deployment", "PodDisruptionBudget", "Service", "Service"]
    owner = view.get("llm", "a")
    assert owner is not None
    for child in view.children().values():
        (reference,) = child["metadata"]["ownerReferences"]
        assert (reference["kind"], reference["uid"]) == ("LLMDeployment", owner["metadata"]["uid"])
        assert reference["controller"] is True


def test_every_deleted_child_comes_back(view: View, operator: OperatorProcess) -> None:
    view.apply(llm("a"))
    for kind, name in view.wait_children():
        uid = view.children()[kind, name]["metadata"]["uid"]
        view.kubectl("delete", kind, name, "--wait=false")

        def back(kind: str = kind, name: str = name, uid: str = uid) -> bool:
            found = view.get(kind, name)
            return found is not None and found["metadata"]["uid"] != uid

        eventually(f"{kind} {name} again", back)


def test_all_children_deleted_at_once_come_back(view: View, operator: OperatorProcess) -> None:
    view.apply(llm("a"))
    before = {child["metadata"]["uid"] for child in view.wait_children().values()}
    for kind in ("configmap", "service", "pdb", "deployment"):
        view.kubectl("delete", kind, "-l", "app.kubernetes.io/instance=a", "--wait=false")

    def back() -> bool:
        uids = {child["metadata"]["uid"] for child in view.children().values()}
        return len(uids) == 5 and not uids & before

    eventually("five new children", back)


def test_a_changed_engine_field_rolls_the_pods_and_the_old_config_map_goes(
    view: View, operator: OperatorProcess
) -> None:
    view.apply(llm("a"))
    view.wait_children()
    (old,) = config_map_mounted(deployment(view))
    view.fake_pod_status(one_pod(view), pod_ready())
    view.wait_reason("a", "Serving")
    view.apply(llm("a", engine={"maxModelLen": 2048}))
    eventually("new template", lambda: config_map_mounted(deployment(view)) != {old})
    (new,) = config_map_mounted(deployment(view))
    assert view.get("configmap", new) is not None
    assert view.get("configmap", old) is not None, "a live pod mounts it"
    eventually("two pods", lambda: len(view.pods()) >= 1 and any(_mounts(p, new) for p in view.pods()))
    (fresh,) = [p["metadata"]["name"] for p in view.pods() if _mounts(p, new)]
    view.fake_pod_status(fresh, pod_ready())
    eventually("old ConfigMap gone", lambda: view.get("configmap", old) is None)
    view.wait_reason("a", "Serving")


def _mounts(pod: Object, config_map: str) -> bool:
    volumes = pod["spec"]["volumes"]
    return any(volume.get("configMap", {}).get("name") == config_map for volume in volumes)


def test_scale_subresource_changes_the_replicas(view: View, operator: OperatorProcess) -> None:
    view.apply(llm("a"))
    view.wait_children()
    view.kubectl("scale", "llm/a", "--replicas=3")
    eventually("three", lambda: deployment(view)["spec"]["replicas"] == 3)
    eventually("reported", lambda: (view.get("llm", "a") or {})["status"]["replicas"] == 3)
    view.apply(llm("a"))  # an autoscaler works the same way, and the manifest in git names no replicas
    view.apply(llm("a", engine={"maxModelLen": 512}))
    eventually("changed", lambda: (view.get("llm", "a") or {})["status"]["observedGeneration"] == 3)
    assert deployment(view)["spec"]["replicas"] == 3
    view.kubectl("scale", "llm/a", "--replicas=0")
    view.wait_reason("a", "ScaledToZero")
    assert deployment(view)["spec"]["replicas"] == 0


def test_a_foreign_service_is_left_alone_and_named(view: View, operator: OperatorProcess) -> None:
    foreign = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "a", "labels": {"app.kubernetes.io/managed-by": "Helm"}},
        "spec": {"ports": [{"port": 80}], "selector": {"app": "web"}},
    }
    view.apply(foreign)
    before = view.get("service", "a")
    view.apply(llm("a"))
    ready = view.wait_reason("a", "NameTaken")
    assert "Service" in ready["message"]
    assert "Helm" in ready["message"]
    assert view.condition("a", "Stalled")["status"] == "True"
    assert view.get("service", "a") == before
    view.kubectl("delete", "service", "a")
    eventually("healed", lambda: len(view.children()) == 5)


def test_an_unknown_engine_argument_stalls_with_its_name_and_heals(view: View, operator: OperatorProcess) -> None:
    view.apply(llm("a", engine={"extraArgs": {"no_such_argument": 1}}))
    eventually("stalled", lambda: view.condition("a", "Stalled").get("status") == "True")
    ready = view.condition("a")
    assert ready["status"] == "False"
    assert "no_such_argument" in ready["message"]
    assert view.children() == {}
    view.kubectl("patch", "llm", "a", "--type=merge", "-p", '{"spec":{"engine":{"extraArgs":null}}}')
    view.wait_children()
    eventually("not stalled", lambda: view.condition("a", "Stalled")["status"] == "False")


def test_a_deleted_resource_takes_its_children_with_it(view: View, operator: OperatorProcess) -> None:
    view.apply(llm("a"))
    view.wait_children()
    view.kubectl("delete", "llm", "a")
    eventually("collected", lambda: view.children() == {} and view.pods() == [])
    time.sleep(2)
    assert view.children() == {}


def test_a_resource_that_is_made_again_at_once_gets_children_of_its_own(view: View, operator: OperatorProcess) -> None:
    view.apply(llm("a"))
    view.wait_children()
    view.kubectl("delete", "llm", "a")
    view.apply(llm("a"))
    owner = view.get("llm", "a")
    assert owner is not None

    def own() -> bool:
        children = view.children().values()
        uids = {ref["uid"] for child in children for ref in child["metadata"]["ownerReferences"]}
        return len(children) == 5 and uids == {owner["metadata"]["uid"]}

    eventually("five children of the new one", own)
    time.sleep(2)
    assert own()


def test_nothing_is_written_when_nothing_changed(
    view: View, operator: OperatorProcess, start_operator: StartOperator
) -> None:
    view.apply(llm("a"))
    view.wait_children()
    view.fake_pod_status(one_pod(view), pod_ready())
    view.wait_reason("a", "Serving")
    time.sleep(1)
    began = len(view.plane.audit())
    assert operator.stop() == 0
    again = start_operator(program=PROVEN)
    eventually("reconciled", lambda: again.metric('triton_vllm_operator_reconcile_seconds_count{result="success"}') > 0)
    view.kubectl("annotate", "llm", "a", "touched=yes")  # one more reconcile, with the same spec
    time.sleep(2)
    assert view.writes(began) == [("patch", "llmdeployments", "a")], "only the test's own annotation"


def test_the_disruption_budget_goes_when_it_is_switched_off(view: View, operator: OperatorProcess) -> None:
    view.apply(llm("a"))
    view.wait_children()
    view.apply(llm("a", service={"disruptionBudget": {"enabled": False}}))
    eventually("no budget", lambda: "PodDisruptionBudget" not in view.kinds())
    assert len(view.children()) == 4


def test_a_field_of_ours_is_restored_and_a_field_of_others_is_kept(view: View, operator: OperatorProcess) -> None:
    view.apply(llm("a"))
    view.wait_children()
    view.kubectl("annotate", "deployment", "a", "note=kept")
    patch = json.dumps({"spec": {"selector": {"app": "stolen", "serving.triton-vllm.dev/llmdeployment": "other"}}})
    view.kubectl("patch", "service", "a", "--type=merge", "-p", patch)

    def restored() -> bool:
        service = view.get("service", "a")
        return service is not None and service["spec"]["selector"]["serving.triton-vllm.dev/llmdeployment"] == "a"

    eventually("selector restored", restored)
    assert deployment(view)["metadata"]["annotations"]["note"] == "kept"


def test_each_cause_that_keeps_a_pod_from_serving_is_reported_and_then_ready(
    view: View, operator: OperatorProcess
) -> None:
    view.apply(llm("a"))
    pod = one_pod(view)
    view.fake_pod_status(pod, pod_unschedulable("0/2 nodes are available: 2 Insufficient nvidia.com/gpu."))
    assert "nvidia.com/gpu" in view.wait_reason("a", "InsufficientGPUs")["message"]
    view.fake_pod_status(pod, pod_waiting("CreateContainerConfigError", 'secret "hub" not found'))
    assert "Secret hub does not exist" in view.wait_reason("a", "SecretNotFound")["message"]
    view.fake_pod_status(pod, pod_waiting("ImagePullBackOff", 'Back-off pulling image "nowhere/none:1"'))
    assert "nowhere/none:1" in view.wait_reason("a", "ImagePullFailed")["message"]
    view.fake_pod_status(pod, pod_ready())
    view.wait_reason("a", "Serving")
    view.kubectl("wait", "--for=condition=Ready", "llm/a", "--timeout=5s")
    assert view.condition("a", "Stalled")["status"] == "False"
    assert view.condition("a", "Available")["status"] == "True"


def test_a_release_with_critical_cves_is_rejected_until_the_namespace_takes_the_risk(
    view: View, operator: OperatorProcess
) -> None:
    view.apply(llm("a", server={"release": "26.03"}))
    condition = view.wait_reason("a", "ReleaseNeedsOptOut")
    assert "CVE-" in condition["message"]
    assert view.children() == {}
    view.kubectl("annotate", "namespace", view.namespace, "serving.triton-vllm.dev/allow-vulnerable-images=true")
    view.kubectl("label", "llm", "a", "look=again")
    view.wait_children()
    assert view.condition("a", "SecurityAdvisory")["reason"] == "ReleaseOptedOut"


def test_a_release_that_anybody_can_take_over_is_never_run(view: View, operator: OperatorProcess) -> None:
    view.kubectl("annotate", "namespace", view.namespace, "serving.triton-vllm.dev/allow-vulnerable-images=true")
    view.apply(llm("a", server={"release": "25.06"}))
    assert view.wait_reason("a", "ReleaseUnsafe")["message"].startswith('Release "25.06"')
    assert view.children() == {}


@pytest.mark.slow
def test_an_exhausted_quota_is_reported_and_heals(view: View, operator: OperatorProcess) -> None:
    view.kubectl("create", "quota", "few", "--hard=count/services=1")
    eventually("the quota is known", lambda: "hard" in view.plane.request("GET", _quota(view))[1].get("status", {}))
    view.apply(llm("a"))
    condition = view.wait_reason("a", "ChildForbidden")
    assert "exceeded quota: few" in condition["message"]
    assert "Service" in condition["message"]
    view.kubectl("delete", "quota", "few")
    view.wait_children()


def _quota(view: View) -> str:
    return f"/api/v1/namespaces/{view.namespace}/resourcequotas/few"


def test_a_list_that_kubernetes_cannot_merge_is_reported(view: View, operator: OperatorProcess) -> None:
    twice = [{"name": "X", "value": "1"}, {"name": "X", "value": "2"}]
    view.apply(llm("a", podTemplate={"env": twice}))
    assert 'duplicate entries for key [name="X"]' in view.wait_reason("a", "ChildRefused")["message"]


def test_a_quantity_that_kubernetes_cannot_read_is_reported(view: View, operator: OperatorProcess) -> None:
    odd = {"resourceFieldRef": {"containerName": "server", "resource": "limits.cpu", "divisor": "second"}}
    view.apply(llm("a", podTemplate={"env": [{"name": "X", "valueFrom": odd}]}))
    assert "quantities must match" in view.wait_reason("a", "ChildRefused")["message"]


def test_a_service_account_that_is_not_wanted_any_more_is_gone(view: View, operator: OperatorProcess) -> None:
    def pod(name: str) -> str:
        return str((view.get("deployment", name) or {}).get("spec", {}).get("template"))

    view.apply(llm("a", podTemplate={"serviceAccountName": "reader"}))
    view.apply(llm("b"))
    eventually("both are there", lambda: None not in (view.get("deployment", "a"), view.get("deployment", "b")))
    assert "reader" in pod("a")
    # What takes the name away is not stored: templates that never had one stay as they are, and so do their pods.
    assert "'serviceAccount" not in pod("b")
    view.apply(llm("a"))
    eventually("no pod runs under it", lambda: "reader" not in pod("a"))
