"""Before a GPU is held the model is read and planned, and the engine runs with what was chosen."""

from __future__ import annotations

import json

import pytest

from e2e.hub import manifests, server
from e2e.tests.deployments import Namespace, Object, eventually, llm
from triton_vllm_operator.capacity import EngineSettings, gpu_of_memory, plan
from triton_vllm_operator.plan.inspection_protocol import unpack_shape

NAME = "open"
TWO_CACHES = "two-caches"
TOLD_SECONDS = 15.0
"""From `kubectl apply` to the reason."""
FIGURES = ("blockSize", "blocks", "kvCacheTokens", "maxModelLen", "concurrencyAtMaxModelLen")
TOKEN = {"tokenSecretRef": {"name": "hub-token", "key": "token"}}


@pytest.fixture(scope="module")
def served(namespace: Namespace) -> Namespace:
    """Deployments that leave everything open that can be."""
    namespace.apply(llm(NAME, engine={"maxModelLen": None}))
    namespace.apply(llm(TWO_CACHES, uri=f"hf://{server.TWO_CACHES}", engine={"maxModelLen": None}))
    namespace.wait_ready(NAME, TWO_CACHES)
    return namespace


def inspections(namespace: Namespace, name: str) -> list[object]:
    output = namespace.kubectl("get", "pods", "-l", f"serving.triton-vllm.dev/inspects={name}", "-o", "json")
    found: list[object] = json.loads(output)["items"]
    return found


def test_a_model_that_was_read_and_fits_says_so_with_its_numbers(served: Namespace) -> None:
    status = (served.get("llm", NAME) or {})["status"]
    assert served.condition(NAME, "ModelResolved")["reason"] == "Resolved"
    assert served.condition(NAME, "Fits")["reason"] == "Fits"
    assert (status["model"]["architecture"], status["model"]["layers"]) == ("LlamaForCausalLM", 2)
    assert status["plan"]["perGPU"]["weightsBytes"] > 0
    assert inspections(served, NAME) == []


def test_the_engine_runs_with_what_was_chosen(served: Namespace) -> None:
    status = (served.get("llm", NAME) or {})["status"]
    report = served.report(NAME)["KVCache"]
    for name in ("maxModelLen", "maxNumSeqs", "maxNumBatchedTokens"):
        assert report[name] == status["chosen"][name], name
    assert report["workers"] == status["chosen"]["tensorParallelSize"] == status["gpusPerReplica"]
    assert status["chosen"]["maxModelLen"] == status["plan"]["maxModelLen"] == 2048


@pytest.mark.parametrize("name", [NAME, TWO_CACHES])
def test_the_status_has_what_the_engine_reports_and_the_plan_agrees(served: Namespace, name: str) -> None:
    eventually("what the engine got is read back", lambda: "actual" in _status(served, name), TOLD_SECONDS)
    status, report = _status(served, name), served.report(name)["Serving"]
    actual, pod = status["actual"], served.pod(name)["metadata"]["name"]
    assert (actual["pod"], actual["restarts"], actual["device"]) == (pod, 0, report["device"])
    assert {key: actual[key] for key in (*FIGURES, "perGPU")} == {key: report[key] for key in (*FIGURES, "perGPU")}
    accurate = served.condition(name, "PlanAccurate")
    assert (accurate["status"], accurate["reason"]) == ("True", "AsPlanned"), accurate["message"]


@pytest.mark.parametrize("name", [NAME, TWO_CACHES])
def test_the_kv_cache_of_a_cpu_is_planned_to_the_block(served: Namespace, name: str) -> None:
    eventually("what the engine got is read back", lambda: "actual" in _status(served, name), TOLD_SECONDS)
    status = _status(served, name)
    if status["actual"]["device"] != "cpu":
        pytest.skip("a plan for GPUs has intervals; one for a given KV cache has none")
    planned = _planned_on_cpu(status)
    assert {key: status["actual"][key] for key in FIGURES} == {key: planned[key] for key in FIGURES}


def _status(namespace: Namespace, name: str) -> Object:
    found: Object = (namespace.get("llm", name) or {})["status"]
    return found


def _planned_on_cpu(status: Object) -> Object:
    """The planner's answer for the KV cache that the engine has."""
    chosen = status["chosen"]
    settings = EngineSettings(
        engine_version=status["plan"]["engineVersion"],
        tensor_parallel_size=chosen["tensorParallelSize"],
        max_model_len=chosen["maxModelLen"],
        max_num_seqs=chosen["maxNumSeqs"],
        max_num_batched_tokens=chosen["maxNumBatchedTokens"],
        device="cpu",
        kv_cache_memory_bytes=status["actual"]["perGPU"]["kvCacheBytes"],
    )
    return plan(unpack_shape(status["model"]["shape"]), settings, gpu_of_memory(1.0)).to_json()


def test_a_model_that_does_not_fit_makes_no_pod_until_it_does(namespace: Namespace) -> None:
    namespace.apply(llm("large", resources={"gpu": {"memoryGiB": 0.25}}))
    namespace.wait_reason("large", "DoesNotFit", TOLD_SECONDS)
    assert namespace.condition("large", "Fits")["status"] == "False"
    assert namespace.pods("large") == []
    namespace.patch("large", {"resources": {"gpu": {"memoryGiB": 24}}})
    eventually("a pod", lambda: len(namespace.pods("large")) == 1, 15)
    namespace.kubectl("delete", "llm", "large")


def test_a_gated_model_is_told_by_what_it_lacks(namespace: Namespace) -> None:
    namespace.apply(llm("no-token", uri="hf://gated/tiny-llama"))
    message = namespace.wait_reason("no-token", "ModelGated", TOLD_SECONDS)
    assert "spec.model.tokenSecretRef" in message
    namespace.kubectl("create", "secret", "generic", "hub-token", "--from-literal=token=wrong")
    namespace.apply(llm("bad-token", uri="hf://gated/tiny-llama", model=TOKEN))
    namespace.wait_reason("bad-token", "TokenRefused", TOLD_SECONDS)
    assert namespace.pods("no-token") + namespace.pods("bad-token") == []
    right = ["create", "secret", "generic", "hub-token", f"--from-literal=token={manifests.TOKEN}", "--dry-run=client"]
    namespace.kubectl("apply", "-f", "-", stdin=namespace.kubectl(*right, "-o", "json"))
    eventually("the next attempt reads it", lambda: namespace.condition("bad-token", "Fits")["status"] == "True", 60)
    namespace.kubectl("delete", "llm", "no-token", "bad-token")


@pytest.mark.parametrize(("uri", "reason"), server.CANNOT_BE_SERVED.items())
def test_a_model_that_no_engine_can_load_is_told_with_its_own_reason(
    namespace: Namespace, uri: str, reason: str
) -> None:
    name = reason.lower()
    namespace.apply(llm(name, uri=uri))
    message = namespace.wait_reason(name, reason, TOLD_SECONDS)
    assert uri.removeprefix("hf://").partition("@")[0] in message
    assert namespace.condition(name, "ModelResolved")["status"] == "False"
    assert namespace.pods(name) == []
    namespace.kubectl("delete", "llm", name)
