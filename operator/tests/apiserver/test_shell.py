"""The shell with the smallest reconcile, as a process, against a real API server."""

from __future__ import annotations

import signal
import time

import pytest

from tests.apiserver.controlplane import ControlPlane
from tests.apiserver.fixtures import StartOperator, install_crd
from tests.apiserver.operators import TOY, eventually
from tests.apiserver.view import View, llm

pytestmark = pytest.mark.every_version

# As in a pod: the process's user has no entry in the password file.
NAMELESS = """
import getpass, runpy
def no_entry():
    raise KeyError("uid not found")
getpass.getuser = no_entry
runpy.run_module("tests.apiserver.toy", run_name="__main__")
"""


def apply(plane: ControlPlane, namespace: str, name: str, uri: str = "hf://org/model") -> None:
    View(plane, namespace).apply(llm(name, model={"uri": uri}))


def data_of(plane: ControlPlane, namespace: str, name: str) -> dict[str, str]:
    """Data of a ConfigMap, empty if there is none."""
    return dict((View(plane, namespace).get("configmap", name) or {}).get("data", {}))


def test_a_resource_gets_its_child_and_the_child_follows_the_spec(
    plane: ControlPlane, namespace: str, start_operator: StartOperator
) -> None:
    start_operator(program=TOY)
    apply(plane, namespace, "a")
    eventually("child", lambda: data_of(plane, namespace, "a-toy") == {"uri": "hf://org/model"})
    apply(plane, namespace, "a", "hf://org/other")
    eventually("new child", lambda: data_of(plane, namespace, "a-toy") == {"uri": "hf://org/other"})


def test_the_watch_of_resources_runs_under_a_user_without_a_name(
    plane: ControlPlane, namespace: str, start_operator: StartOperator
) -> None:
    operator = start_operator(program=("-c", NAMELESS))
    eventually("caught up", operator.ready, 20)
    apply(plane, namespace, "a")
    eventually("child", lambda: bool(data_of(plane, namespace, "a-toy")))
    assert operator.metric("triton_vllm_operator_watch_starts") == 1
    assert "watch of LLMDeployments ended" not in operator.log.read_text()


def test_a_deleted_child_comes_back(plane: ControlPlane, namespace: str, start_operator: StartOperator) -> None:
    start_operator(program=TOY)
    apply(plane, namespace, "a")
    eventually("child", lambda: bool(data_of(plane, namespace, "a-toy")))
    plane.kubectl("delete", "configmap", "a-toy", "-n", namespace)
    eventually("child again", lambda: bool(data_of(plane, namespace, "a-toy")))


def test_children_of_a_deleted_resource_are_collected_and_not_made_again(
    plane: ControlPlane, namespace: str, start_operator: StartOperator
) -> None:
    operator = start_operator(program=TOY)
    apply(plane, namespace, "a")
    eventually("child", lambda: bool(data_of(plane, namespace, "a-toy")))
    plane.kubectl("delete", "llm", "a", "-n", namespace)
    eventually("collected", lambda: not data_of(plane, namespace, "a-toy"))
    time.sleep(2)
    assert not data_of(plane, namespace, "a-toy")
    assert operator.metric('triton_vllm_operator_api_writes_total{kind="ConfigMap",verb="apply"}') == 1


def test_nothing_is_written_after_a_restart_when_nothing_changed(
    plane: ControlPlane, namespace: str, start_operator: StartOperator
) -> None:
    first = start_operator(program=TOY)
    apply(plane, namespace, "a")
    eventually("child", lambda: bool(data_of(plane, namespace, "a-toy")))
    assert first.stop() == 0
    second = start_operator(program=TOY)
    eventually(
        "reconciled", lambda: second.metric('triton_vllm_operator_reconcile_seconds_count{result="success"}') > 0
    )
    assert second.counted('triton_vllm_operator_api_writes_total{kind="ConfigMap",verb="apply"}') == 0


def test_a_crd_that_is_removed_and_put_back_is_served_again(
    plane: ControlPlane, namespace: str, start_operator: StartOperator
) -> None:
    operator = start_operator(program=TOY)
    eventually("ready", operator.ready)
    plane.kubectl("delete", "crd", "llmdeployments.serving.triton-vllm.dev")
    time.sleep(3)
    install_crd(plane)
    apply(plane, namespace, "a")
    eventually("child", lambda: bool(data_of(plane, namespace, "a-toy")))
    assert operator.get("/healthz")[0] == 200


def test_a_clean_stop_hands_over_at_once(plane: ControlPlane, namespace: str, start_operator: StartOperator) -> None:
    first = start_operator(program=TOY)
    eventually("first leads", first.leads)
    second = start_operator(program=TOY)
    eventually("second ready", second.ready)
    assert not second.leads()
    assert first.stop() == 0
    assert eventually("second leads", second.leads) < 12, "sooner than the Lease expires"


@pytest.mark.slow
def test_a_killed_leader_is_replaced(plane: ControlPlane, namespace: str, start_operator: StartOperator) -> None:
    first = start_operator(program=TOY)
    eventually("first leads", first.leads)
    second = start_operator(program=TOY)
    eventually("second ready", second.ready)
    first.kill()
    eventually("second leads", second.leads)
    apply(plane, namespace, "a")
    eventually("child", lambda: bool(data_of(plane, namespace, "a-toy")))


@pytest.mark.slow
def test_a_paused_leader_writes_nothing_when_it_goes_on(
    plane: ControlPlane, namespace: str, start_operator: StartOperator
) -> None:
    first = start_operator(program=TOY)
    eventually("first leads", first.leads)
    second = start_operator(program=TOY)
    eventually("second ready", second.ready)
    first.send(signal.SIGSTOP)
    eventually("second leads", second.leads)
    apply(plane, namespace, "a")
    eventually("child", lambda: bool(data_of(plane, namespace, "a-toy")))
    plane.kubectl("delete", "configmap", "a-toy", "-n", namespace)
    first.send(signal.SIGCONT)
    time.sleep(5)
    assert not first.leads()
    assert second.leads()
    assert first.counted('triton_vllm_operator_api_writes_total{kind="ConfigMap",verb="apply"}') == 0
