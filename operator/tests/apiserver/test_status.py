"""What the status says on a real API server, also while no operator runs."""

from __future__ import annotations

import pytest

from tests.apiserver.controlplane import ControlPlane
from tests.apiserver.fixtures import StartOperator
from tests.apiserver.kubelet import kubelet
from tests.apiserver.operators import PROVEN, eventually
from tests.apiserver.view import View, llm
from tests.fake.kstatus import verdict


@pytest.fixture
def view(plane: ControlPlane, namespace: str) -> View:
    return View(plane, namespace)


def test_an_object_that_no_operator_has_seen_is_not_taken_for_ready(view: View) -> None:
    view.apply(llm("a"))
    found = view.get("llm", "a")
    assert found is not None
    assert verdict(found) == "InProgress"
    reconciling = view.condition("a", "Reconciling")
    assert (reconciling["status"], reconciling["reason"]) == ("True", "Pending")
    assert "operator" in reconciling["message"]


def test_one_that_begins_with_no_replicas_is_what_is_wanted_and_not_ready(
    view: View, start_operator: StartOperator
) -> None:
    view.apply(llm("a", replicas=0))
    start_operator(program=PROVEN)
    view.wait_reason("a", "ScaledToZero")
    found = view.get("llm", "a")
    assert found is not None
    assert verdict(found) == "Current"
    assert view.condition("a") == {}


def test_kubectl_wait_and_kstatus_agree_from_the_first_moment_on(view: View, start_operator: StartOperator) -> None:
    view.apply(llm("a"))
    start_operator(program=PROVEN)
    seen: list[str] = []

    def sampled() -> bool:
        found = view.get("llm", "a")
        assert found is not None
        seen.append(verdict(found))
        return seen[-1] == "Current"

    with kubelet(view.plane, view.namespace):
        eventually("kstatus says Current", sampled)
        view.kubectl("wait", "--for=condition=Ready", "llm/a", "--timeout=1s")
    assert set(seen[:-1]) == {"InProgress"}
    found = view.get("llm", "a")
    assert found is not None
    assert all(c["lastTransitionTime"] > "2000" for c in found["status"]["conditions"])
