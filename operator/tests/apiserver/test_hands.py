"""Someone else's hands on what the operator owns, or beside it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.apiserver.controlplane import ControlPlane
from tests.apiserver.fixtures import StartOperator
from tests.apiserver.kubelet import kubelet
from tests.apiserver.operators import PROVEN, OperatorProcess, eventually
from tests.apiserver.view import Object, View, llm

CRD = "llmdeployments.serving.triton-vllm.dev"
DEFECTS = 'triton_vllm_operator_reconciles_total{reason="Exception",result="defect"}'


def server_side(view: View, manager: str, obj: Object) -> None:
    """Another controller's server-side apply of its own fields."""
    view.kubectl("apply", "--server-side", f"--field-manager={manager}", "-f", "-", stdin=json.dumps(obj))


def container_names(view: View) -> list[str]:
    found = view.get("deployment", "a")
    assert found is not None
    return [container["name"] for container in found["spec"]["template"]["spec"]["containers"]]


def test_a_key_that_somebody_adds_to_a_selector_is_taken_away(view: View, operator: OperatorProcess) -> None:
    """It would make the Service select nothing, although every field of ours is still there."""
    view.apply(llm("a"))
    view.wait_children()
    view.kubectl("patch", "service", "a", "--type=merge", "-p", '{"spec":{"selector":{"app":"stolen"}}}')
    eventually("restored", lambda: "app" not in (view.get("service", "a") or {})["spec"]["selector"])


def test_a_sidecar_of_another_manager_lives_through_our_changes(view: View, operator: OperatorProcess) -> None:
    view.apply(llm("a"))
    view.wait_children()
    sidecar = {"name": "proxy", "image": "proxy:1"}
    template = {"spec": {"containers": [sidecar]}}
    head = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}}
    server_side(view, "mesh", {**head, "spec": {"template": template}})
    view.apply(llm("a", server={"drainSeconds": 30}))

    def changed() -> bool:
        found = view.get("deployment", "a")
        assert found is not None
        return bool(found["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 50)

    eventually("our change is there", changed)
    assert sorted(container_names(view)) == ["proxy", "server"]


def test_a_field_that_is_no_longer_wanted_goes_although_others_have_written_beside_it(
    view: View, operator: OperatorProcess
) -> None:
    view.apply(llm("a", scheduling={"nodeSelector": {"pool": "gpu"}}, service={"annotations": {"lb": "internal"}}))
    view.wait_children()
    view.kubectl("annotate", "service", "a", "note=kept")
    view.apply(llm("a"))

    def gone() -> bool:
        service, found = view.get("service", "a"), view.get("deployment", "a")
        assert service is not None
        assert found is not None
        return (
            "lb" not in service["metadata"]["annotations"] and "nodeSelector" not in found["spec"]["template"]["spec"]
        )

    eventually("what was taken out of the spec is gone", gone)
    assert (view.get("service", "a") or {})["metadata"]["annotations"]["note"] == "kept"


def test_the_longest_name_is_served(view: View, operator: OperatorProcess) -> None:
    name = "a" * 54
    view.apply(llm(name))
    with kubelet(view.plane, view.namespace):
        view.wait_reason(name, "Serving")
    assert len(view.children()) == 5


def test_a_foreign_config_map_under_the_repositorys_name_is_left_alone(view: View, operator: OperatorProcess) -> None:
    view.apply(llm("a"))
    name = next(name for kind, name in view.wait_children() if kind == "ConfigMap")
    view.kubectl("delete", "llm", "a")
    eventually("collected", lambda: view.children() == {})
    view.kubectl("create", "configmap", name, "--from-literal=mine=yes")
    view.apply(llm("a"))
    condition = view.wait_reason("a", "NameTaken")
    assert name in condition["message"]
    assert (view.get("configmap", name) or {})["data"] == {"mine": "yes"}


def test_a_deleted_namespace_leaves_no_loop_behind(plane: ControlPlane, start_operator: StartOperator) -> None:
    """The operator serves the whole cluster with the administrator's rights, which outlive the namespace."""
    plane.kubectl("create", "namespace", "doomed")
    view = View(plane, "doomed")
    operator = start_operator("--namespace", "doomed", program=PROVEN, kubeconfig=plane.kubeconfig)
    eventually("leads", operator.leads)
    view.apply(llm("a"))
    view.wait_children()
    plane.kubectl("delete", "namespace", "doomed")
    eventually("the namespace is gone", lambda: plane.request("GET", "/api/v1/namespaces/doomed")[0] == 404)
    since = len(plane.audit())
    time.sleep(5)
    assert view.writes(since) == []
    assert operator.counted(DEFECTS) == 0


@pytest.fixture
def newer_schema(plane: ControlPlane) -> Iterator[None]:
    """The CRD of a newer operator: one more field of the engine."""
    path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/engine/properties/warpDrive"
    add = [{"op": "add", "path": path, "value": {"type": "boolean"}}]
    plane.kubectl("patch", "crd", CRD, "--type=json", "-p", json.dumps(add))
    yield
    plane.kubectl("patch", "crd", CRD, "--type=json", "-p", json.dumps([{"op": "remove", "path": path}]))


def test_a_resource_of_a_newer_schema_is_reported_and_its_children_are_kept(
    view: View, operator: OperatorProcess, newer_schema: None
) -> None:
    view.apply(llm("a"))
    before = view.wait_children()

    def accepted() -> bool:
        try:
            view.kubectl("patch", "llm", "a", "--type=merge", "-p", '{"spec":{"engine":{"warpDrive":true}}}')
        except subprocess.CalledProcessError:
            return False
        found = view.get("llm", "a")
        return found is not None and "warpDrive" in found["spec"]["engine"]

    eventually("the API server knows the new field", accepted, every_s=0.5)
    condition = view.wait_reason("a", "InvalidSpec")
    assert "warpDrive" in condition["message"]
    assert "update the operator" in condition["message"]
    uids = {key: obj["metadata"]["uid"] for key, obj in view.children().items()}
    assert uids == {key: obj["metadata"]["uid"] for key, obj in before.items()}
    assert operator.counted(DEFECTS) == 0
