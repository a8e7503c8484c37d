"""URL paths of objects, references to them, and the names and labels of children."""

from __future__ import annotations

from typing import Any

import pytest

from triton_vllm_operator.api import kinds, names
from triton_vllm_operator.api.kinds import Key, Kind, Ref, kind_of, ref_of


@pytest.mark.parametrize(
    ("kind", "place", "path"),
    [
        (kinds.POD, (), "/api/v1/pods"),
        (kinds.POD, ("a",), "/api/v1/namespaces/a/pods"),
        (kinds.POD, ("a", "b"), "/api/v1/namespaces/a/pods/b"),
        (kinds.POD, ("a", "b", "status"), "/api/v1/namespaces/a/pods/b/status"),
        (kinds.POD, ("a/b", "../c", "d e"), "/api/v1/namespaces/a%2Fb/pods/..%2Fc/d%20e"),
        (kinds.NODE, (None, "n"), "/api/v1/nodes/n"),
        (kinds.NODE, ("a", "n"), "/api/v1/nodes/n"),  # it is in no namespace
        (kinds.DEPLOYMENT, ("a", "b"), "/apis/apps/v1/namespaces/a/deployments/b"),
        (kinds.LLM_DEPLOYMENT, ("a", "b", "status"),
         "/apis/serving.triton-vllm.dev/v1alpha1/namespaces/a/llmdeployments/b/status"),
    ],
)  # fmt: skip
def test_the_path_of_an_object(kind: Kind, place: tuple[str, ...], path: str) -> None:
    assert kind.path(*place) == path


def test_the_group_of_a_kind() -> None:
    assert (kinds.POD.group, kinds.DEPLOYMENT.group, kinds.EVENT.group) == ("", "apps", "events.k8s.io")


def test_a_reference_is_to_the_object_as_read() -> None:
    read: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b", "namespace": "a", "uid": "u"}}
    found = ref_of(read)
    assert found == Ref(kinds.POD, "a", "b", "u")
    assert (str(found), found.path) == ("Pod a/b", "/api/v1/namespaces/a/pods/b")
    node = ref_of({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}})
    assert (node, str(node), node.path) == (Ref(kinds.NODE, None, "n"), "Node n", "/api/v1/nodes/n")
    assert str(Key("a", "b")) == "a/b"


def test_every_kind_is_found_by_its_version_and_name() -> None:
    assert kind_of({"apiVersion": "v1", "kind": "Event"}) is kinds.CORE_EVENT
    assert kind_of({"apiVersion": "events.k8s.io/v1", "kind": "Event"}) is kinds.EVENT
    with pytest.raises(KeyError):
        kind_of({"apiVersion": "v1", "kind": "Secret"})


def test_the_labels_and_names_of_children() -> None:
    assert names.labels("llama") == {
        "app.kubernetes.io/name": "triton-vllm",
        "app.kubernetes.io/instance": "llama",
        "app.kubernetes.io/managed-by": "triton-vllm-operator",
        "serving.triton-vllm.dev/llmdeployment": "llama",
    }
    assert names.inspection_labels("llama", "0f") == {
        "app.kubernetes.io/name": "triton-vllm-inspection",
        "app.kubernetes.io/managed-by": "triton-vllm-operator",
        "serving.triton-vllm.dev/inspects": "llama",
        "serving.triton-vllm.dev/inspection": "0f",
    }
    assert names.selector("llama").items() <= names.labels("llama").items()
    assert not names.selector("llama").items() <= names.inspection_labels("llama", "0f").items()
    assert (names.headless("llama"), names.repository("llama", "0f")) == ("llama-headless", "llama-0f")
    assert len(names.headless("x" * names.NAME_MAX_LENGTH)) == 63


@pytest.mark.parametrize(
    ("label", "inherited"),
    [
        ("team", True),
        ("example.com/team", True),
        ("example.com/helm", True),
        ("xkubernetes.io/team", True),
        ("app.kubernetes.io/name", False),
        ("kubernetes.io/name", False),
        ("node.kubernetes.io/name", False),
        ("topology.k8s.io/zone", False),
        ("k8s.io/zone", False),
        ("serving.triton-vllm.dev/llmdeployment", False),
        ("helm.sh/chart", False),
        ("argocd.argoproj.io/instance", False),
        ("kustomize.toolkit.fluxcd.io/name", False),
        ("toolkit.fluxcd.io/name", False),
        ("fleet.cattle.io/bundle", False),
    ],
)
def test_which_labels_children_take_over(label: str, inherited: bool) -> None:
    assert names.inherited({label: "x"}) == ({label: "x"} if inherited else {})
