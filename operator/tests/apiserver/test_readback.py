"""What an engine got, read from a stand-in for its pod: a server on an address of this machine, on the pod's port."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from contract import paths, ports
from tests.apiserver.controlplane import ControlPlane
from tests.apiserver.fixtures import StartOperator
from tests.apiserver.inspections import IMAGE, fake_result, inspection, inspections
from tests.apiserver.kubelet import pod_ready
from tests.apiserver.operators import PROVEN, OperatorProcess, eventually
from tests.apiserver.planned import SMALL, gpu_node, status
from tests.apiserver.view import Object, View, llm
from triton_vllm_operator.capacity import EngineSettings, gpu_of_memory, plan

OPTIONS = (*IMAGE, "--serving-image=registry.example/triton-vllm:vllm-0.32.0-cpu")
KV_CACHE = 1 << 30


@dataclass
class Engine:
    """A pod's port 9000. `answer`: HTTP status and body; None for a connection on which nothing comes."""

    ip: str
    answer: tuple[int, bytes] | None = (404, b"{}")
    asked: list[str] = field(default_factory=list)

    def got(self, **figures: Any) -> None:
        self.answer = (200, json.dumps(figures).encode())


@pytest.fixture
def engine() -> Iterator[Engine]:
    """An engine on an address of its own."""
    made = Engine(f"127.{random.randint(1, 254)}.{random.randint(1, 254)}.{random.randint(2, 254)}")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append(self.path)
            if made.answer is None:
                time.sleep(20)
                return
            code, body = made.answer
            self.send_response(code)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Write no log."""

    server = ThreadingHTTPServer((made.ip, ports.HEALTH), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield made
    server.shutdown()
    server.server_close()


@pytest.fixture
def view(plane: ControlPlane, namespace: str) -> Iterator[View]:
    """A namespace in a cluster with one node of eight H100."""
    with gpu_node(plane, namespace) as made:
        yield made


def leading(start_operator: StartOperator) -> OperatorProcess:
    started = start_operator(*OPTIONS, program=PROVEN)
    eventually("leads and is caught up", lambda: started.leads() and started.ready())
    return started


def serve(view: View, engine: Engine) -> str:
    """An LLMDeployment `a` whose model is planned and whose pod serves; the pod's name."""
    view.apply(llm("a"))
    fake_result(view, inspection(view), SMALL)
    eventually("the pod is deleted once it is read", lambda: inspections(view) == [])
    eventually("a pod", lambda: len(view.pods()) == 1)
    name = str(view.pods()[0]["metadata"]["name"])
    view.fake_pod_status(name, pod_ready(engine.ip))
    return name


def as_planned(found: Object) -> dict[str, Any]:
    """What an engine on a CPU says when it got what its KV cache holds by the plan. `found`: the status."""
    chosen, version = found["chosen"], found["plan"]["engineVersion"]
    settings = EngineSettings(
        engine_version=version, max_model_len=chosen["maxModelLen"], max_num_seqs=chosen["maxNumSeqs"],
        max_num_batched_tokens=chosen["maxNumBatchedTokens"], device="cpu", kv_cache_memory_bytes=KV_CACHE,
    )  # fmt: skip
    same = plan(SMALL.shape, settings, gpu_of_memory(1.0)).to_json()
    figures = {key: same[key] for key in ("blocks", "blockSize", "kvCacheTokens", "maxModelLen")}
    rest = {"concurrencyAtMaxModelLen": same["concurrencyAtMaxModelLen"], "perGPU": {"kvCacheBytes": KV_CACHE}}
    return {"vllm": f"{version}+cpu", "device": "cpu", **figures, **rest}


def accurate(view: View) -> tuple[str, str]:
    found = view.condition("a", "PlanAccurate")
    return found.get("status", ""), found.get("reason", "")


def planned(view: View) -> Object:
    """The status, once the model is planned and chosen for."""
    eventually("planned", lambda: "chosen" in status(view))
    return status(view)


def status_writes(view: View, since: int) -> list[tuple[str, str, str]]:
    return [verb for verb in view.writes(since) if verb[1].startswith("llmdeployments")]


@pytest.mark.slow
def test_what_the_engine_got_is_read_once_and_outlives_the_operator(
    view: View, engine: Engine, start_operator: StartOperator
) -> None:
    first = leading(start_operator)
    view.apply(llm("a"))
    fake_result(view, inspection(view), SMALL)
    figures = as_planned(planned(view))
    engine.got(**figures)
    eventually("a pod", lambda: len(view.pods()) == 1)
    pod = str(view.pods()[0]["metadata"]["name"])
    eventually("nothing to compare yet", lambda: accurate(view) == ("Unknown", "NotServing"))
    view.fake_pod_status(pod, pod_ready(engine.ip))
    eventually("read back", lambda: accurate(view) == ("True", "AsPlanned"))
    found = status(view)["actual"]
    assert (found["pod"], found["restarts"], found["device"]) == (pod, 0, "cpu")
    assert {key: found[key] for key in figures if key != "vllm"} == {k: v for k, v in figures.items() if k != "vllm"}
    view.wait_reason("a", "Serving")
    first.kill()
    leading(start_operator)
    view.kubectl("annotate", "llm", "a", "looked=at")
    time.sleep(2)
    since = len(view.plane.audit())
    time.sleep(3)
    assert status_writes(view, since) == []
    assert status(view)["actual"] == found
    assert engine.asked == [paths.REPORT]


def test_another_run_is_read_again_and_a_difference_is_reported(
    view: View, engine: Engine, start_operator: StartOperator
) -> None:
    leading(start_operator)
    pod = serve(view, engine)
    eventually("no report", lambda: accurate(view) == ("Unknown", "ReportNotServed"))
    view.wait_reason("a", "Serving")
    figures = as_planned(planned(view))
    engine.got(**{**figures, "kvCacheTokens": figures["kvCacheTokens"] // 2})
    view.fake_pod_status(pod, pod_ready(engine.ip, restarts=1))
    eventually("off", lambda: accurate(view) == ("False", "KVCacheLayoutDiffers"))
    assert status(view)["actual"]["restarts"] == 1
    assert view.condition("a")["reason"] == "Serving", "it serves all the same"

    def events() -> list[Object]:
        items = json.loads(view.kubectl("get", "events.events.k8s.io", "-o", "json"))["items"]
        return [event for event in items if event["reason"] == "KVCacheLayoutDiffers"]

    eventually("an event", lambda: [event["type"] for event in events()] == ["Warning"])


HOSTILE: dict[str, tuple[tuple[int, bytes] | None, str]] = {
    "not JSON": ((200, b"<html>"), "ReportUnreadable"),
    "huge numbers": (
        (200, b'{"vllm": "1", "device": "cpu", "maxModelLen": 1' + b"0" * 5000 + b"}"),
        "ReportUnreadable",
    ),
    "too long": ((200, b" " * (1 << 20)), "ReportUnreadable"),
    "a refusal": ((500, b"no"), "ReportUnreachable"),
    "half-open": (None, "ReportUnreachable"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_pod_that_answers_badly_serves_all_the_same(
    kind: str, view: View, engine: Engine, start_operator: StartOperator
) -> None:
    engine.answer, reason = HOSTILE[kind]
    operator = leading(start_operator)
    serve(view, engine)
    view.wait_reason("a", "Serving")
    eventually("the reason", lambda: accurate(view) == ("Unknown", reason))
    assert "actual" not in status(view)
    view.apply(llm("b", planning={"mode": "Off"}))
    eventually("others go on", lambda: view.get("deployment", "b") is not None)
    assert operator.ready()
