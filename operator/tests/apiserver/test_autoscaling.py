"""Autoscaling: loads on the metrics ports of stand-ins for pods, Kubernetes' own Deployment controller, and crashes."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from contract import ports
from tests.apiserver.controlplane import ControlPlane
from tests.apiserver.fixtures import StartOperator
from tests.apiserver.gpus import hold
from tests.apiserver.operators import PROVEN, OperatorProcess, eventually
from tests.apiserver.real import AUTOSCALING_SECONDS
from tests.apiserver.scheduling import OneNode, one_node
from tests.apiserver.view import Object, View, llm
from triton_vllm_operator.api import kinds

IMAGE = {"image": "registry.example/triton-vllm:vllm-0.32.0"}
QUICK = {"scaleDown": {"stabilizationWindowSeconds": 2}}
TEXT = """\
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model="a",version="1"} %s
vllm:num_requests_waiting{engine="0",model="a",version="1"} 0
"""


@dataclass
class Engines:
    """The metrics ports of pods, which share a number of requests.

    Attributes:
        requests: of all pods together.
        silent: addresses that accept connections and do not answer.
    """

    node: OneNode
    prefix: str
    requests: float = 0
    silent: set[str] = field(default_factory=set)
    given: dict[str, str] = field(default_factory=dict)
    servers: list[ThreadingHTTPServer] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(2))

    def ip_of(self, pod: str) -> str:
        """The address of a pod, with a server of its own."""
        if pod not in self.given:
            self.given[pod] = f"{self.prefix}.{next(self.numbers)}"
            self._serve(self.given[pod])
        return self.given[pod]

    def _serve(self, ip: str) -> None:
        engines = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if ip in engines.silent:
                    time.sleep(20)
                    return
                body = (TEXT % (engines.requests / max(engines.node.ready, 1))).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Write no log."""

        server = ThreadingHTTPServer((ip, ports.METRICS), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.servers.append(server)


@pytest.fixture
def gpus() -> int:
    """GPUs of the node."""
    return 4


@pytest.fixture
def engines(plane: ControlPlane, namespace: str, gpus: int) -> Iterator[Engines]:
    with one_node(plane, namespace, gpus) as node:
        made = Engines(node, f"127.{random.randint(1, 254)}.{random.randint(1, 254)}")
        node.ip_of = made.ip_of
        yield made
        for server in made.servers:
            server.shutdown()
            server.server_close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(AUTOSCALING_SECONDS, "0.5")


def autoscaled(view: View, name: str = "a", *, replicas: int = 1, maximum: int = 4, **spec: Any) -> Object:
    autoscaling = {"maxReplicas": maximum, "target": {"inFlightPerReplica": 10}, "behavior": QUICK}
    return llm(
        name,
        **{
            "server": IMAGE,
            "planning": {"mode": "Off"},
            "replicas": replicas,
            "autoscaling": autoscaling,
            "scheduling": {"nodeSelector": {"kubernetes.io/hostname": view.namespace}},
            **spec,
        },
    )


def scaling(view: View, name: str = "a") -> Object:
    found: Object = (view.get("llm", name) or {}).get("status", {}).get("autoscaling", {})
    return found


def serves(view: View, count: int, name: str = "a") -> None:
    """Wait until so many pods are desired and serve."""

    def done() -> bool:
        condition = view.condition(name)
        many = f"{count} pod{'s' if count > 1 else ''} ha"
        return (
            scaling(view, name).get("desiredReplicas") == count
            and condition.get("status") == "True"
            and condition["message"].startswith(many)
        )

    eventually(f"{count} pods of {name} serve", done)


def reason(view: View, name: str = "a") -> str:
    return str(view.condition(name, "AutoscalingActive").get("reason", ""))


def test_pods_follow_the_load_and_nothing_is_written_while_it_stays(
    view: View, engines: Engines, operator: OperatorProcess
) -> None:
    view.apply(autoscaled(view))
    serves(view, 1)
    engines.requests = 25
    serves(view, 3)
    eventually("the reason", lambda: reason(view) == "Autoscaled")
    found = view.get("llm", "a")
    assert found is not None
    assert found["spec"]["replicas"] == 1, "the spec is its author's"
    assert found["status"]["desiredReplicas"] == 3
    assert scaling(view)["decidedBy"] == "inFlightPerReplica"
    assert scaling(view)["lastScaleTime"]
    assert operator.metric(
        f'triton_vllm_operator_autoscaling_desired_replicas{{name="a",namespace="{view.namespace}"}}'
    )
    time.sleep(3)
    since = len(view.plane.audit())
    time.sleep(5)
    assert view.writes(since) == [], "ten readings later"
    engines.requests = 0
    serves(view, 1)


@pytest.mark.parametrize("gpus", [2])
def test_no_more_pods_than_gpus_and_who_holds_them_is_reported(
    view: View, engines: Engines, operator: OperatorProcess
) -> None:
    hold(view, "other", view.namespace, 1)
    view.apply(autoscaled(view))
    serves(view, 1)
    engines.requests = 40
    eventually("the reason", lambda: reason(view) == "AutoscalingNeedsGPUs")
    message = view.condition("a", "AutoscalingActive")["message"]
    assert f"held by LLMDeployment {view.namespace}/a 1, pod {view.namespace}/other 1" in message
    time.sleep(3)
    assert len([pod for pod in view.pods() if pod["metadata"]["name"] != "other"]) == 1, "no pod waits for a GPU"
    view.plane.must("DELETE", kinds.POD.path(view.namespace, "other"), {"gracePeriodSeconds": 0})
    eventually("a second pod", lambda: scaling(view).get("desiredReplicas") == 2, limit_s=90)
    serves(view, 2)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_an_operator_that_is_killed_at_its_writes_goes_on_with_the_number(
    view: View, engines: Engines, start_operator: StartOperator, number: int
) -> None:
    operator = start_operator(program=PROVEN)
    view.apply(autoscaled(view))
    serves(view, 1)
    engines.requests = 30
    since = len(view.plane.audit())
    eventually("a write", lambda: len(view.writes(since)) > number, every_s=0.01)
    operator.kill()
    operator.start()
    serves(view, 3)
    engines.node.watch()
    operator.kill()
    time.sleep(1)
    operator.start()
    eventually("leads", lambda: operator.leads() and operator.ready())
    time.sleep(4)
    assert engines.node.least_ready == 3, "no jump to another number"


def test_a_status_that_is_lost_is_that_of_the_deployment(
    view: View, engines: Engines, start_operator: StartOperator
) -> None:
    operator = start_operator(program=PROVEN)
    view.apply(autoscaled(view))
    engines.requests = 30
    serves(view, 3)
    operator.kill()
    path = kinds.LLM_DEPLOYMENT.path(view.namespace, "a", "status")
    view.plane.must("PATCH", path, {"status": {"autoscaling": None}}, "application/merge-patch+json")
    engines.node.watch()
    operator.start()
    serves(view, 3)
    assert engines.node.least_ready == 3


def test_a_pod_without_an_answer_delays_no_other_and_takes_none_away(
    view: View, engines: Engines, operator: OperatorProcess
) -> None:
    engines.requests = 20
    view.apply(autoscaled(view, maximum=2))
    serves(view, 2)
    engines.silent = set(engines.given.values())
    eventually("the reason", lambda: reason(view) == "AutoscalingWithoutMetrics", limit_s=120)
    assert "no response from port 8002 within 2 s" in view.condition("a", "AutoscalingActive")["message"]
    engines.node.watch()
    view.apply(autoscaled(view, "b", maximum=2))
    engines.requests = 60
    serves(view, 2, "b")
    assert scaling(view)["desiredReplicas"] == 2
    assert operator.ready()


def test_another_scaler_is_reported(view: View, engines: Engines, operator: OperatorProcess) -> None:
    target = {"apiVersion": "serving.triton-vllm.dev/v1alpha1", "kind": "LLMDeployment", "name": "a"}
    body = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "mine"},
        "spec": {"scaleTargetRef": target, "maxReplicas": 3},
    }
    view.kubectl("create", "-f", "-", stdin=json.dumps(body))
    view.apply(autoscaled(view))
    eventually("the reason", lambda: reason(view) == "AutoscaledTwice")
    assert "HorizontalPodAutoscaler mine scales it too" in view.condition("a", "AutoscalingActive")["message"]
    view.kubectl("scale", "llm/a", "--replicas=3")

    def noted() -> bool:
        return "has set spec.replicas to 3" in view.condition("a", "AutoscalingActive")["message"]

    eventually("kubectl scale has no effect, and it says so", noted)
    assert scaling(view)["desiredReplicas"] == 1


def test_a_change_replaces_the_pods_that_there_are(view: View, engines: Engines, operator: OperatorProcess) -> None:
    view.apply(autoscaled(view))
    serves(view, 1)
    engines.requests = 20
    serves(view, 2)
    engines.node.watch()
    view.apply(autoscaled(view, podTemplate={"env": [{"name": "A", "value": "1"}]}))
    engines.requests = 5

    def complete() -> bool:
        rollout = (view.get("llm", "a") or {}).get("status", {}).get("rollout", {})
        return (rollout.get("revision"), rollout.get("step")) == (2, "Complete")

    eventually("revision 2", complete)
    assert engines.node.least_ready >= 1
    serves(view, 1)


BAD: dict[str, tuple[Object, str]] = {
    "min above max": (
        {"minReplicas": 3, "maxReplicas": 2, "target": {"inFlightPerReplica": 1}},
        "Lower minReplicas, or raise maxReplicas",
    ),
    "no target": ({"maxReplicas": 2, "target": {}}, "Set inFlightPerReplica, waitingPerReplica"),
    "zero": ({"minReplicas": 0, "maxReplicas": 2, "target": {"kvCacheUsage": 0.5}}, "spec.autoscaling.minReplicas"),
    "more than the cache": ({"maxReplicas": 2, "target": {"kvCacheUsage": 70}}, "spec.autoscaling.target.kvCacheUsage"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_is_rejected_with_what_to_write(view: View, what: str) -> None:
    autoscaling, message = BAD[what]
    with pytest.raises(subprocess.CalledProcessError) as rejected:
        view.kubectl("create", "-f", "-", stdin=json.dumps(llm("a", autoscaling=autoscaling)))
    assert message in str(rejected.value.stderr)


def test_a_target_that_the_image_has_no_metric_for_is_rejected(view: View, operator: OperatorProcess) -> None:
    view.apply(autoscaled(view, server={"release": "26.08"}))
    view.wait_reason("a", "FieldOfOwnImage")
    assert "spec.autoscaling.target.inFlightPerReplica" in view.condition("a")["message"]
