"""Sampling defaults, profiles, limits and OpenAI's protocol from the custom resource to the client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from e2e.client import Client
from e2e.tests.deployments import Namespace, llm

NAME = "llama"
KEY = "a key of the tests"
SAMPLING = {"defaults": {"temperature": 0, "maxTokens": 5}, "profiles": [{"name": "long", "maxTokens": 9}]}
SERVER = {
    "requestTimeoutSeconds": 100,
    "limits": {"maxN": 2},
    "openAI": {"enabled": True, "apiKeySecretRef": {"name": "clients", "key": "api-key"}},
}
HELLO: Any = [{"role": "user", "content": "The quick brown fox"}]


@pytest.fixture(scope="module")
def served(namespace: Namespace) -> Namespace:
    meta = {"name": "clients"}
    namespace.apply({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"api-key": KEY}})
    namespace.apply(llm(NAME, sampling=SAMPLING, server=SERVER))
    namespace.wait_ready(NAME)
    return namespace


@pytest.fixture(scope="module")
def address(served: Namespace) -> Iterator[str]:
    with served.forward(NAME, 9000) as found:
        yield f"http://{found}/v1"


def test_the_status_tells_the_address(served: Namespace) -> None:
    obj = served.get("llm", NAME)
    assert obj is not None
    assert obj["status"]["endpoints"]["openAI"] == f"http://{NAME}.{served.name}.svc:9000/v1"


def test_openais_client_gets_the_defaults_and_the_profile(address: str) -> None:
    client = OpenAI(base_url=address, api_key=KEY, max_retries=0)
    assert [model.id for model in client.models.list()] == [NAME]
    for profile, most in (({}, 5), ({"profile": "long"}, 9)):
        chat = client.chat.completions.create(model=NAME, messages=HELLO, extra_body={**profile, "ignore_eos": True})
        assert chat.usage is not None
        assert chat.usage.completion_tokens == most


def test_tritons_protocol_gets_the_same(served: Namespace, client: Client) -> None:
    body = {"text_input": "The quick brown fox", "ignore_eos": True, "return_num_output_tokens": True}
    assert client.post(served.url(NAME), body).json()["num_output_tokens"] == 5
    assert client.post(served.url(NAME), {**body, "profile": "long"}).json()["num_output_tokens"] == 9
    wrong = client.post(served.url(NAME), {**body, "profile": "short"})
    assert wrong.status == 400
    assert "allowed: long" in wrong.body
    assert "at most 2" in client.post(served.url(NAME), {**body, "n": 3}).body


def test_without_the_key_the_door_is_closed(address: str) -> None:
    with pytest.raises(openai.AuthenticationError):
        OpenAI(base_url=address, api_key="wrong", max_retries=0).models.list()


# backend_tests/test_start.py compares the whole list; what matters here is what a cluster adds: the download.
PHASES = ("EngineArguments", "Download", "WeightsLoaded", "KVCache", "Warmup", "FirstToken", "Serving")


def test_the_start_reports_the_bytes_downloaded_and_the_seconds_of_each_phase(served: Namespace) -> None:
    report = served.report(NAME)
    assert [phase for phase in report if phase in PHASES] == list(PHASES)
    assert list(report)[-1] == "Serving"
    assert {phase: report[phase] for phase in PHASES if report[phase].get("seconds", -1) < 0} == {}
    assert report["Download"]["bytes"] > 100_000
