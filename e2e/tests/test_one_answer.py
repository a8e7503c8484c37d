"""Apply one LLMDeployment, send one request: tokens flow, as every client of Triton expects them."""

from __future__ import annotations

import queue
from functools import partial
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpc
import tritonclient.http as http

from e2e.client import Client
from e2e.tests.deployments import Namespace, ask, eventually, llm

NAME = "llama"
ENGINE = {
    "maxModelLen": 768,
    "maxNumSeqs": 128,
    "maxNumBatchedTokens": 1536,
    "gpuMemoryUtilization": 0.8,
    "enablePrefixCaching": False,
    "seed": 7,
}


@pytest.fixture(scope="module")
def served(namespace: Namespace) -> Namespace:
    """The namespace once the deployment is Ready."""
    namespace.apply(llm(NAME, engine=ENGINE))
    namespace.wait_ready(NAME)
    return namespace


def test_one_post_to_the_service_gets_text(served: Namespace, client: Client) -> None:
    answer = client.post(served.url(NAME), {"text_input": "Hello"}).json()
    assert answer["model_name"] == NAME
    assert answer["text_output"]


def test_the_row_of_kubectl_get_tells_model_gpus_and_release(served: Namespace) -> None:
    head, row = served.kubectl("get", "llm", NAME).splitlines()
    assert head.split() == ["NAME", "READY", "DESIRED", "AVAILABLE", "MODEL", "GPUS", "RELEASE", "REASON", "AGE"]
    name, ready, desired, available, model, gpus, release, reason, _ = row.split()
    assert (name, ready, desired, available, model, gpus) == (NAME, "True", "1", "1", "hf://demo/tiny-llama", "1")
    assert release.startswith("vllm-")
    assert reason == "Serving"


def test_every_condition_is_about_the_spec_and_agrees(served: Namespace) -> None:
    compared = partial(served.condition, NAME, "PlanAccurate")
    eventually("the engine's report is read", lambda: compared().get("status") == "True", 30)
    obj = served.get("llm", NAME)
    assert obj is not None
    found = {one["type"]: one["status"] for one in obj["status"]["conditions"]}
    assert found.pop("SecurityAdvisory") in ("True", "False")
    assert found == {
        "Ready": "True",
        "Available": "True",
        "Reconciling": "False",
        "Stalled": "False",
        "ModelResolved": "True",
        "Fits": "True",
        "PlanAccurate": "True",
        "UpToDate": "True",
    }
    assert {one["observedGeneration"] for one in obj["status"]["conditions"]} == {obj["metadata"]["generation"]}


def test_a_stream_comes_in_parts(served: Namespace, client: Client) -> None:
    # Long enough for a client on a busy machine to see more than the end of it.
    asked = ask(max_tokens=700)
    answer = client.post(served.url(NAME, "generate_stream"), {**asked, "stream": True})
    events = answer.events()
    assert len(events) > 4
    assert len(answer.arrivals) > 1, "everything came at once"
    whole = client.post(served.url(NAME), asked).json()
    assert "".join(event["text_output"] for event in events) == whole["text_output"]


def test_temperature_zero_is_repeatable(served: Namespace, client: Client) -> None:
    _, answers = client.send([{"url": served.url(NAME), "json": ask(max_tokens=32)}] * 5, concurrency=5)
    assert len({answer.json()["text_output"] for answer in answers}) == 1


@pytest.mark.parametrize("tokens", [1, 7, 40])
def test_max_tokens_is_obeyed(served: Namespace, client: Client, tokens: int) -> None:
    assert int(client.post(served.url(NAME), ask(max_tokens=tokens)).json()["num_output_tokens"]) == tokens


def test_stop_ends_the_text_before_the_word(served: Namespace, client: Client) -> None:
    whole = client.post(served.url(NAME), ask(max_tokens=32)).json()["text_output"]
    word = whole[len(whole) // 2 :][:3]
    assert word.strip()
    cut = client.post(served.url(NAME), ask(max_tokens=32, stop=word)).json()["text_output"]
    assert cut == whole[: whole.index(word)]


def test_the_engine_runs_with_the_arguments_of_the_spec(served: Namespace) -> None:
    ready = served.report(NAME)["KVCache"]
    assert {name: ready[name] for name in ENGINE if name != "seed"} == {k: v for k, v in ENGINE.items() if k != "seed"}


def test_the_start_did_not_look_at_model_classes_that_the_image_knows(served: Namespace) -> None:
    pod = served.pod(NAME)["metadata"]["name"]
    looked = "import os, pathlib; print(len([*pathlib.Path(os.environ['VLLM_CACHE_ROOT'], 'modelinfos').iterdir()]))"
    assert int(served.kubectl("exec", pod, "--", "python3", "-c", looked)) > 100


def test_the_http_client_of_triton_sees_the_model(served: Namespace) -> None:
    with served.forward(NAME, 8000) as address:
        server = http.InferenceServerClient(address)
        assert server.is_server_live()
        assert server.is_model_ready(NAME)
        names = {tensor["name"] for tensor in server.get_model_metadata(NAME)["inputs"]}
        assert {"text_input", "stream", "sampling_parameters"} <= names
        server.close()


def test_the_grpc_client_of_triton_streams(served: Namespace, client: Client) -> None:
    text = np.array([b"The quick brown fox"], dtype=np.object_)
    inputs = [grpc.InferInput(name, [1], kind) for name, kind in (("text_input", "BYTES"), ("stream", "BOOL"))]
    inputs[0].set_data_from_numpy(text)
    inputs[1].set_data_from_numpy(np.array([True]))
    parameters = {"max_tokens": 24, "temperature": "0", "ignore_eos": True}
    with served.forward(NAME, 8001) as address:
        parts = _stream(address, inputs, parameters)
    assert len(parts) > 1
    answer = client.post(served.url(NAME), ask(max_tokens=24)).json()["text_output"]
    assert "".join(parts) == answer


def _stream(address: str, inputs: list[Any], parameters: dict[str, Any]) -> list[str]:
    """The parts of text that a gRPC stream brings."""
    came: queue.Queue[Any] = queue.Queue()
    parts: list[str] = []
    with grpc.InferenceServerClient(address) as server:
        server.start_stream(lambda result, error: came.put(error or result))
        server.async_stream_infer(NAME, inputs, parameters=parameters, enable_empty_final_response=True)
        while True:
            result = came.get(timeout=60)
            assert not isinstance(result, Exception), result
            output = result.as_numpy("text_output")
            parts += [value.decode() for value in output] if output is not None else []
            if result.get_response().parameters["triton_final_response"].bool_param:
                return parts
