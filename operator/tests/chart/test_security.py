"""Every pod of ours against the API server's own restricted Pod Security Standard, and its root file system."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.apiserver.controlplane import ControlPlane
from tests.chart.helm import Helm
from tests.desired.build import DEFAULTS, IMAGE, STOCK, llm
from tests.desired.samples import SAMPLES
from triton_vllm_operator.desired.children import children
from triton_vllm_operator.desired.inspect_pod import inspect_pod

Object = dict[str, Any]
NEEDED: list[Object] = [
    {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "serving"}, "value": 1},
    {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "nvidia"}, "handler": "nvidia"},
]
"""Cluster-wide objects that the samples' pods name."""


@pytest.fixture
def restricted(plane: ControlPlane, namespace: str) -> Iterator[str]:
    """A namespace that enforces the standard, with what the pods name."""
    accounts = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}
        for name in ("reader", "triton-vllm-operator", "default")
    ]
    for obj in (*NEEDED, *accounts):
        plane.kubectl("apply", "-f", "-", stdin=json.dumps(obj))
    yield namespace
    for obj in NEEDED:
        plane.kubectl("delete", obj["kind"], obj["metadata"]["name"])


def admitted(plane: ControlPlane, namespace: str, template: Object) -> None:
    """CalledProcessError when the API server would refuse a pod of this template."""
    meta = {**template.get("metadata", {}), "name": "pod", "namespace": namespace}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]}
    plane.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))


def read_only(template: Object) -> bool:
    containers = [*template["spec"]["containers"], *template["spec"].get("initContainers", [])]
    return all(one["securityContext"]["readOnlyRootFilesystem"] is True for one in containers)


def test_the_operators_pod_is_admitted(plane: ControlPlane, restricted: str, helm: Helm) -> None:
    pod = helm.template(namespace=restricted).pod
    admitted(plane, restricted, pod)
    assert read_only(pod)


@pytest.mark.parametrize("sample", SAMPLES)
def test_every_serving_pod_is_admitted(plane: ControlPlane, restricted: str, sample: str) -> None:
    image = STOCK if sample == "stock-image" else IMAGE
    (deployment,) = [o for o in children(llm(SAMPLES[sample]), image, DEFAULTS) if o["kind"] == "Deployment"]
    template = deployment["spec"]["template"]
    admitted(plane, restricted, template)
    assert read_only(template)
    assert template["spec"]["automountServiceAccountToken"] is False


@pytest.mark.parametrize("sample", SAMPLES)
def test_every_inspection_pod_is_admitted(plane: ControlPlane, restricted: str, sample: str) -> None:
    made = inspect_pod(llm(SAMPLES[sample]), "registry.example/operator:1", "", DEFAULTS)
    admitted(plane, restricted, made)
    assert read_only(made)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hostNetwork": True}, "hostNetwork=true"),
        ({"securityContext": {"runAsNonRoot": False}}, "runAsNonRoot != true"),
        ({"volumes": [{"name": "tmp", "hostPath": {"path": "/"}}]}, "hostPath"),
    ],
)
def test_the_namespace_does_refuse_a_pod_with_more_rights(
    plane: ControlPlane, restricted: str, helm: Helm, change: Object, message: str
) -> None:
    pod = copy.deepcopy(helm.template(namespace=restricted).pod)
    pod["spec"].update(change)
    with pytest.raises(subprocess.CalledProcessError) as refused:
        admitted(plane, restricted, pod)
    assert 'violates PodSecurity "restricted' in refused.value.stderr
    assert message in refused.value.stderr
