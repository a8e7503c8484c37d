"""GPUs that a node publishes in a ResourceSlice, on a real API server: planned for, and in a waiting pod's message."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.apiserver.controlplane import ControlPlane
from tests.apiserver.fixtures import StartOperator
from tests.apiserver.gpus import UNSCHEDULABLE, node_there, serving_pod_gets
from tests.apiserver.inspections import IMAGE, fake_result, inspection
from tests.apiserver.operators import PROVEN, OperatorProcess, eventually
from tests.apiserver.planned import SMALL, fits
from tests.apiserver.view import Object, View, llm
from tests.builders.dra import device, slice_
from triton_vllm_operator.api import kinds
from triton_vllm_operator.capacity import allocatable_gpus
from triton_vllm_operator.kube.client import Client
from triton_vllm_operator.kube.gpu_inventory import nodes

HOSTNAME = "kubernetes.io/hostname"
pytestmark = pytest.mark.every_version


def publish(plane: ControlPlane, body: Object, name: str) -> None:
    plane.must("POST", kinds.RESOURCE_SLICE.path(), {"metadata": {"name": name}, "spec": body["spec"]})


@pytest.fixture
def view(plane: ControlPlane, namespace: str) -> Iterator[View]:
    """A namespace in a cluster with one node, of its name, that publishes two L40S and has no label of theirs."""
    with node_there(plane, namespace, {"metadata": {"labels": {HOSTNAME: namespace}}, "status": {}}):
        publish(plane, slice_(device("gpu-0"), device("gpu-1"), node=namespace), f"{namespace}-gpus")
        others = slice_(device("gpu-0"), node=namespace, driver="gpu.example.com", pool="others")
        publish(plane, others, f"{namespace}-others")
        yield View(plane, namespace)
        for name in (f"{namespace}-gpus", f"{namespace}-others"):
            plane.must("DELETE", kinds.RESOURCE_SLICE.path(name=name))


@pytest.fixture
def operator(view: View, start_operator: StartOperator) -> OperatorProcess:
    started = start_operator(*IMAGE, program=PROVEN)
    eventually("leads and is caught up", lambda: started.leads() and started.ready())
    return started


async def test_the_slices_of_the_driver_are_read(view: View, client: Client) -> None:
    [found] = [one for one in await nodes(client) if one["metadata"]["name"] == view.namespace]
    assert allocatable_gpus(found) == 2


def test_a_model_is_planned_for_them_and_a_waiting_pod_is_reported_of_the_device_class(
    view: View, operator: OperatorProcess
) -> None:
    view.apply(llm("a", engine={"tensorParallelSize": 2}, scheduling={"nodeSelector": {HOSTNAME: view.namespace}}))
    fake_result(view, inspection(view), SMALL)
    view.wait_children()
    assert fits(view) == ("True", "Fits")
    assert view.condition("a", "Fits")["message"].startswith("On NVIDIA-L40S: ")
    serving_pod_gets(view, UNSCHEDULABLE)
    message = view.wait_reason("a", "InsufficientGPUs")["message"]
    assert "Of 2 NVIDIA-L40S, at most 2 are free. " in message
    assert (
        "2 of them are reported by DRA only: pods get them where a DeviceClass has the extendedResourceName" in message
    )
