"""What people have met with other operators, on a real API server: each test names the report that it comes from."""

from __future__ import annotations

import random
from functools import partial

import pytest

from tests.apiserver.fixtures import StartOperator
from tests.apiserver.inspections import IMAGE, container, inspections
from tests.apiserver.operators import PROVEN, OperatorProcess, eventually
from tests.apiserver.view import Object, View, llm

CRD = "llmdeployments.serving.triton-vllm.dev"


def create(view: View, resource: str, obj: Object) -> None:
    view.plane.must("POST", f"/api/v1/namespaces/{view.namespace}/{resource}", obj)


def service(view: View) -> Object:
    found = view.get("service", "a")
    assert found is not None
    spec: Object = found["spec"]
    return spec


def has_type(view: View, kind: str) -> bool:
    return view.get("service", "a") is not None and service(view)["type"] == kind


def test_a_service_goes_from_a_load_balancer_to_the_cluster_and_back(view: View, operator: OperatorProcess) -> None:
    """cloud-on-k8s#569: the node ports that the API server had chosen made the Service invalid."""
    for kind in ("LoadBalancer", "ClusterIP", "NodePort", "ClusterIP", "LoadBalancer"):
        view.apply(llm("a", service={"type": kind}))
        eventually(kind, partial(has_type, view, kind))
        if kind == "ClusterIP":
            assert not any("nodePort" in port for port in service(view)["ports"])


def test_a_class_that_cannot_be_changed_is_reported_with_the_way_out(view: View, operator: OperatorProcess) -> None:
    """VictoriaMetrics/operator#1522, percona-xtradb-cluster-operator#1899."""
    view.apply(llm("a", service={"type": "LoadBalancer", "loadBalancerClass": "example.com/one"}))
    eventually("made", lambda: view.get("service", "a") is not None)
    view.apply(llm("a", service={"type": "LoadBalancer", "loadBalancerClass": "example.com/two"}))
    condition = view.wait_reason("a", "ChildRefused")
    assert "may not change once set" in condition["message"]
    assert "delete the object with kubectl delete; the operator creates it again." in condition["message"]
    view.kubectl("delete", "service", "a")
    eventually(
        "made again",
        lambda: (view.get("service", "a") or {}).get("spec", {}).get("loadBalancerClass", "")[-3:] == "two",
    )


def test_a_default_limit_below_the_request_names_the_field(view: View, operator: OperatorProcess) -> None:
    """awx-operator#995, kubernetes#112835."""
    limits = [{"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m"}}]
    create(view, "limitranges", {"metadata": {"name": "small"}, "spec": {"limits": limits}})
    view.apply(llm("a"))
    condition = view.wait_reason("a", "PodsRefused")
    assert "must be less than or equal to cpu limit" in condition["message"]
    assert "set spec.resources.cpuLimit" in condition["message"]
    view.apply(llm("a", resources={"cpuLimit": "4"}))
    eventually("a pod", lambda: len(view.pods()) == 1)


def test_a_quota_that_requires_a_limit_takes_the_pod_that_reads_the_model(
    view: View, start_operator: StartOperator
) -> None:
    """opensearch-k8s-operator#613, awx-operator#1841: the helper pod had no limits and no field for them."""
    operator = start_operator(*IMAGE, program=PROVEN)
    eventually("leads", operator.leads)
    hard = {"limits.cpu": "20", "requests.ephemeral-storage": "200Gi", "limits.ephemeral-storage": "200Gi"}
    create(view, "resourcequotas", {"metadata": {"name": "team"}, "spec": {"hard": hard}})
    path = f"/api/v1/namespaces/{view.namespace}/resourcequotas/team"
    eventually("the quota counts", lambda: bool(view.plane.must("GET", path).get("status", {}).get("used")))
    view.apply(llm("a"))
    eventually("refused", lambda: view.condition("a", "ModelResolved").get("reason") == "InspectionRefused")
    message = view.condition("a", "ModelResolved")["message"]
    assert "set spec.resources.cpuLimit" in message
    view.apply(llm("a", resources={"cpuLimit": "4", "ephemeralStorage": "50Gi"}))
    eventually("it is created", lambda: len(inspections(view)) == 1)
    assert container(view)["resources"]["limits"]["cpu"] == "500m"


@pytest.mark.parametrize("text", ["x" * 1_100_000, random.Random(1).randbytes(550_000).hex()], ids=["x", "random"])
def test_a_configuration_that_no_config_map_holds_is_reported(view: View, operator: OperatorProcess, text: str) -> None:
    """prometheus-engine#549, kuadrant-operator#2048: an endless loop, and nothing else was reconciled."""
    view.apply(llm("a", engine={"extraArgs": {"hf_overrides": {"a": text}}}))
    condition = view.wait_reason("a", "ChildRefused")
    assert "1048576" in condition["message"]
    view.apply(llm("b"))
    eventually("others are served", lambda: view.get("deployment", "b") is not None)
