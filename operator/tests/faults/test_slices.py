"""A short slice of the fault harness: the operator killed after each write of a create, and two API faults."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.apiserver.controlplane import ADMIN_TOKEN, ControlPlane
from tests.apiserver.fixtures import StartOperator
from tests.apiserver.operators import PROVEN, OperatorProcess, eventually
from tests.apiserver.view import Object, View, llm
from tests.faults.proxy import FAULTS, Proxy, proxy
from triton_vllm_operator.api import names

CREATE_WRITES = 7  # five children, the status, and the event that tells of it
FAULT_S = 10.0
NOTICE_S = 30.0
# Written by the API server or by controllers, at each run anew.
VOLATILE = (
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "managedFields",
    "ownerReferences",
    "generation",
    "namespace",
)
# The applied hash covers the owner reference, and so the uid of the LLMDeployment.
VOLATILE_ANNOTATIONS = (names.APPLIED_HASH_ANNOTATION, "deployment.kubernetes.io/revision")


@pytest.fixture
def view(plane: ControlPlane, namespace: str) -> View:
    return View(plane, namespace)


@pytest.fixture
def faulty(plane: ControlPlane) -> Iterator[Proxy]:
    with proxy(plane) as made:
        yield made


def start_behind(faulty: Proxy, start_operator: StartOperator) -> OperatorProcess:
    """An operator that reaches the API server through the proxy. It holds no Lease: its restart is not delayed."""
    kubeconfig = faulty.plane.kubeconfig_for("faulty", ADMIN_TOKEN, faulty.url)
    return start_operator("--no-leader-election", program=PROVEN, kubeconfig=kubeconfig)


def essence(children: dict[tuple[str, str], Object]) -> dict[tuple[str, str], Any]:
    """What the children say, without what differs from run to run."""
    return {key: _essence(obj) for key, obj in children.items()}


def _essence(obj: Object) -> Object:
    meta = {name: value for name, value in obj["metadata"].items() if name not in VOLATILE}
    meta["annotations"] = {k: v for k, v in meta.get("annotations", {}).items() if k not in VOLATILE_ANNOTATIONS}
    spec = {k: v for k, v in obj.get("spec", {}).items() if k not in ("clusterIP", "clusterIPs")}
    return {"metadata": meta, "spec": spec, "data": obj.get("data")}


def settled(view: View) -> bool:
    """The children exist, the controllers have made the pod and the CR says that it waits for it."""
    return len(view.children()) == 5 and len(view.pods()) == 1 and view.condition("a").get("reason") == "Scaling"


def reference(view: View, start_operator: StartOperator) -> dict[tuple[str, str], Any]:
    """The end state of a run without faults; everything is removed again."""
    operator = start_operator("--no-leader-election", program=PROVEN)
    view.apply(llm("a"))
    eventually("reference settled", lambda: settled(view))
    found = essence(view.children())
    assert operator.stop() == 0
    view.kubectl("delete", "llm", "a")
    eventually("nothing left", lambda: view.children() == {} and view.pods() == [])
    return found


def killed_after(number: int, faulty: Proxy, operator: OperatorProcess) -> threading.Event:
    """Kill the operator once it has sent that many writes, before it learns the answer of the last one."""
    dead = threading.Event()
    faulty.writes.clear()

    def kill(count: int) -> None:
        if count == number and not dead.is_set():
            operator.kill()
            dead.set()

    faulty.on_write = kill
    return dead


def test_killed_after_each_write_of_a_create_the_end_is_the_same(
    view: View, faulty: Proxy, start_operator: StartOperator
) -> None:
    wanted = reference(view, start_operator)
    operator = start_behind(faulty, start_operator)
    for number in range(1, CREATE_WRITES):
        eventually("caught up", operator.ready, 20)
        dead = killed_after(number, faulty, operator)
        view.apply(llm("a"))
        assert dead.wait(15), f"only {len(faulty.writes)} writes: {faulty.writes}"
        faulty.on_write = None
        operator.start()
        eventually(f"settled after a kill at write {number}", lambda: settled(view), 60)
        assert essence(view.children()) == wanted
        assert len(view.plane.kubectl("get", "rs", "-n", view.namespace, "-o", "name").split()) == 1, "one roll only"
        view.kubectl("delete", "llm", "a")
        eventually("nothing left", lambda: view.children() == {} and view.pods() == [])


@pytest.mark.parametrize("name", ["503", "half-open, all silent"])
def test_what_changed_during_a_fault_is_served_after_it(
    view: View, faulty: Proxy, start_operator: StartOperator, name: str
) -> None:
    operator = start_behind(faulty, start_operator)
    eventually("caught up", operator.ready, 20)
    view.apply(llm("before"))
    eventually("five", lambda: len(view.children()) == 5)
    uids = {obj["metadata"]["uid"] for obj in view.children().values()}
    faulty.fail(next(fault for fault in FAULTS if fault.name == name))
    began = time.monotonic()
    view.apply(llm("during"))
    view.kubectl("patch", "llm", "before", "--type=merge", "-p", json.dumps({"spec": {"replicas": 2}}))
    time.sleep(max(0.0, began + FAULT_S - time.monotonic()))
    assert len(view.children()) == 5, "the fault lets nothing through"
    faulty.fail(None)
    eventually("both served", lambda: _served(view), NOTICE_S)
    assert uids <= {obj["metadata"]["uid"] for obj in view.children().values()}, "nothing was made anew"
    assert operator.get("/healthz")[0] == 200


def _served(view: View) -> bool:
    children = view.children()
    before = children.get(("Deployment", "before"))
    return len(children) == 10 and before is not None and before["spec"]["replicas"] == 2
