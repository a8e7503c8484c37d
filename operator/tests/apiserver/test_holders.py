"""A pod that finds no GPU: who holds them, of a real cluster with a real operator and the chart's rights."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.apiserver.controlplane import ControlPlane
from tests.apiserver.fixtures import StartOperator
from tests.apiserver.gpus import UNSCHEDULABLE, hold, namespace_there, node_there, serving_pod_gets
from tests.apiserver.operators import PROVEN, OperatorProcess, eventually
from tests.apiserver.view import View, llm
from tests.builders.deployments import A10, node
from triton_vllm_operator.kube.client import PAGE, Client
from triton_vllm_operator.kube.gpu_inventory import held


@pytest.fixture
def others(plane: ControlPlane, namespace: str) -> Iterator[View]:
    """The namespace of others, in a cluster with one node of four A10, which bears the name of the test's namespace."""
    with node_there(plane, namespace, node(A10, gpus=4)), namespace_there(plane, f"others-{namespace}") as made:
        yield made


def waits(view: View) -> str:
    """What Ready says of a pod that waits for two GPUs of this test's node."""
    label = {"kubernetes.io/hostname": view.namespace}
    view.plane.kubectl("label", "node", view.namespace, f"kubernetes.io/hostname={view.namespace}")
    spec = {"engine": {"tensorParallelSize": 2}, "scheduling": {"nodeSelector": label}}
    view.apply(llm("a", planning={"mode": "Off"}, **spec))
    serving_pod_gets(view, UNSCHEDULABLE)
    return str(view.wait_reason("a", "InsufficientGPUs")["message"])


def leads(operator: OperatorProcess) -> None:
    eventually("leads and is caught up", lambda: operator.leads() and operator.ready())


def test_an_operator_of_the_whole_cluster_tells_the_pods_of_all_namespaces(
    view: View, others: View, start_everywhere: StartOperator
) -> None:
    low = f"low-{view.namespace}"
    body = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": low}, "value": -10}
    view.plane.kubectl("create", "-f", "-", stdin=json.dumps(body))
    hold(others, "train", view.namespace, 3, priorityClassName=low)
    hold(others, "done", view.namespace, 1)
    others.fake_pod_status("done", {"phase": "Succeeded"})
    leads(start_everywhere(program=PROVEN))
    assert waits(view) == (
        "A pod needs 2 nvidia.com/gpu on one node. "
        f"Of 4 NVIDIA-A10, 1 is free; held by pod {others.namespace}/train 3 (priority -10). "
        "Scale down or delete one of those users, or add a GPU node. "
        "Pods of a lower priority hold enough of them: the scheduler may end those for this pod. "
        "Scheduler: 0/2 nodes are available: 2 Insufficient nvidia.com/gpu."
    )
    view.plane.kubectl("delete", "priorityclass", low)


def test_an_operator_of_one_namespace_tells_its_pods_and_that_there_may_be_others(
    view: View, others: View, start_operator: StartOperator
) -> None:
    hold(view, "notebook", view.namespace, 1)
    hold(others, "train", view.namespace, 3)
    leads(start_operator(program=PROVEN))
    message = waits(view)
    assert f"Of 4 NVIDIA-A10, at most 3 are free; held by pod {view.namespace}/notebook 1. " in message
    assert "pods of other namespaces may hold some of them" in message
    assert "train" not in message


async def test_more_pods_than_a_page_holds_are_all_counted(view: View, others: View, client: Client) -> None:
    for number in range(PAGE + 1):
        hold(others, f"p{number}", view.namespace, 1)
    found = await held(client, [None])
    assert found.complete
    assert sum(holder.gpus for holder in found.pods if holder.node == view.namespace) == PAGE + 1
    labelled = await held(client, [others.namespace], "!serving.triton-vllm.dev/llmdeployment")
    assert len(labelled.pods) == PAGE + 1
