"""What a spec adds to the children beside the server: labels, containers, ports, limits, and users of the namespace."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.desired.build import DEFAULTS, IMAGE
from tests.desired.samples import resource
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.desired.children import children
from triton_vllm_operator.desired.inputs import Defaults
from triton_vllm_operator.desired.inspect_pod import inspect_pod
from triton_vllm_operator.desired.services import endpoints

Object = dict[str, Any]
MODEL: Object = {"model": {"uri": "hf://org/model"}}
METADATA: Object = {
    "labels": {
        "cost-center": "42",
        "team.example.com/owner": "search",
        "app.kubernetes.io/instance": "argo",
        "argocd.argoproj.io/instance": "apps",
        "kustomize.toolkit.fluxcd.io/name": "apps",
        "serving.triton-vllm.dev/llmdeployment": "other",
    },
    "annotations": {"contact": "a@example.com"},
}


def llm(metadata: Object | None = None, **spec: Any) -> LLMDeployment:
    made = resource("llama", {**MODEL, **spec})
    return LLMDeployment.parse({**made, "metadata": {**made["metadata"], **(metadata or {})}})


def built(made: LLMDeployment, defaults: Defaults = DEFAULTS) -> dict[tuple[str, str], Object]:
    return {(one["kind"], one["metadata"]["name"]): one for one in children(made, IMAGE, defaults)}


def template(made: LLMDeployment, defaults: Defaults = DEFAULTS) -> Object:
    found: Object = built(made, defaults)["Deployment", "llama"]["spec"]["template"]
    return found


def service(**spec: Any) -> Object:
    found: Object = built(llm(**spec))["Service", "llama"]["spec"]
    return found


# ------------------------------------------------------------------------------------------------ labels


def test_every_child_has_the_labels_of_the_llmdeployment_but_not_those_of_tools() -> None:
    for one in built(llm(METADATA)).values():
        labels = one["metadata"]["labels"]
        assert labels["cost-center"] == "42"
        assert labels["team.example.com/owner"] == "search"
        assert labels["app.kubernetes.io/instance"] == labels["serving.triton-vllm.dev/llmdeployment"] == "llama"
        assert not [key for key in labels if "argoproj" in key or "fluxcd" in key]


def test_a_label_restarts_no_pod() -> None:
    assert template(llm(METADATA)) == template(llm())


def test_pods_get_the_labels_and_annotations_that_the_spec_names() -> None:
    inherit = {"labels": ["cost-center", "absent", "app.kubernetes.io/instance"], "annotations": ["contact"]}
    found = template(llm(METADATA, podTemplate={"inherit": inherit, "annotations": {"note": "x"}}))["metadata"]
    assert found["labels"]["cost-center"] == "42"
    assert found["labels"]["app.kubernetes.io/instance"] == "llama", "the operator's own labels win"
    assert "absent" not in found["labels"]
    assert (found["annotations"]["contact"], found["annotations"]["note"]) == ("a@example.com", "x")


def test_inspection_pods_have_no_labels_of_others() -> None:
    """Services of the user may select by them."""
    assert "cost-center" not in inspect_pod(llm(METADATA), "operator:1", "", DEFAULTS)["metadata"]["labels"]


# ------------------------------------------------------------------------------------------------ containers

PROXY: Object = {
    "name": "proxy",
    "image": "proxy:1",
    "args": ["--port=8080"],
    "resources": {"limits": {"memory": "64Mi"}},
    "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
}


def test_sidecars_start_before_init_containers_and_the_server() -> None:
    init = {"name": "fetch", "image": "fetch:1", "command": ["fetch"]}
    spec = template(llm(podTemplate={"sidecars": [PROXY], "initContainers": [init]}))["spec"]
    proxy, fetch = spec["initContainers"]
    assert (proxy["name"], proxy["restartPolicy"]) == ("proxy", "Always")
    assert fetch["name"] == "fetch"
    assert "restartPolicy" not in fetch
    assert {key: proxy[key] for key in PROXY} == PROXY
    assert [one["name"] for one in spec["containers"]] == ["server"]


def test_added_containers_are_within_the_restricted_standard() -> None:
    spec = template(llm(podTemplate={"sidecars": [PROXY]}))["spec"]
    assert spec["initContainers"][0]["securityContext"] == spec["containers"][0]["securityContext"]


def test_a_pod_without_additions_has_no_init_containers() -> None:
    assert "initContainers" not in template(llm())["spec"]


# ------------------------------------------------------------------------------------------------ resources


def test_a_cpu_limit_is_set_where_the_spec_has_one() -> None:
    def limits(**resources: Any) -> Object:
        found: Object = template(llm(resources=resources))["spec"]["containers"][0]["resources"]["limits"]
        return found

    assert limits(cpuLimit="4")["cpu"] == "4"
    assert "cpu" not in limits()


# ------------------------------------------------------------------------------------------------ the Service


def ports(found: Object) -> dict[str, str]:
    return {port["name"]: port.get("appProtocol", "") for port in found["ports"]}


def test_a_load_balancer_gets_class_ranges_and_no_protocol_that_it_would_check() -> None:
    given = {"loadBalancerClass": "internal", "loadBalancerSourceRanges": ["10.0.0.0/8"]}
    found = service(service={"type": "LoadBalancer", **given})
    assert {key: found[key] for key in given} == given
    assert ports(found) == {"http": "", "grpc": "", "metrics": ""}
    assert ports(service(service={"type": "LoadBalancer", "appProtocol": True}))["http"] == "http"


def test_a_service_in_the_cluster_has_protocols() -> None:
    assert ports(service()) == {"http": "http", "grpc": "kubernetes.io/h2c", "metrics": "http"}
    assert set(ports(service(service={"appProtocol": False})).values()) == {""}


def test_ports_without_a_key_can_be_left_out_beside_the_one_with_a_key() -> None:
    spec: Object = {
        "server": {"openAI": {"enabled": True, "apiKeySecretRef": {"name": "clients"}}},
        "service": {"ports": {"http": False, "grpc": False, "metrics": False}},
    }
    assert list(ports(service(**spec))) == ["openai"]
    assert (endpoints(llm(**spec)).http, endpoints(llm(**spec)).open_ai) == (None, "http://llama.team.svc:9000/v1")
    assert "http" in ports(built(llm(**spec))["Service", "llama-headless"]["spec"]), "for clients in the cluster"


# ------------------------------------------------------------------------------------------------ users and nodes


def test_where_the_namespace_assigns_users_pods_name_none() -> None:
    assigned = replace(DEFAULTS, fixed_user=False)
    for spec in (template(llm(), assigned)["spec"], inspect_pod(llm(), "operator:1", "", assigned)["spec"]):
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(spec["securityContext"])
        assert spec["securityContext"]["runAsNonRoot"] is True


@pytest.mark.parametrize(
    ("scheduling", "terms"),
    [
        ({}, ["kubernetes.io/arch"]),
        ({"nodeSelector": {"pool": "gpu"}}, None),
        (
            {
                "affinity": {
                    "nodeAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": {
                            "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "Exists"}]}]
                        }
                    }
                }
            },
            ["zone"],
        ),
    ],
)
def test_the_inspection_runs_on_nodes_of_the_operators_architecture_unless_the_spec_names_nodes(
    scheduling: Object, terms: list[str] | None
) -> None:
    spec = inspect_pod(llm(scheduling=scheduling), "operator:1", "", DEFAULTS, architecture="arm64")["spec"]
    required = spec.get("affinity", {}).get("nodeAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    keys = [one["key"] for term in (required or {}).get("nodeSelectorTerms", []) for one in term["matchExpressions"]]
    assert keys == (terms or [])
