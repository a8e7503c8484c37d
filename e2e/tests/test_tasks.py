"""Models that embed or classify become Ready by a request of their own task, and serve it."""

from __future__ import annotations

from typing import Any

import pytest

from e2e.client import Client
from e2e.hub.server import EMBEDDING, RANKER
from e2e.tests.deployments import Namespace, llm

SERVER = {"openAI": {"enabled": True, "modelAliases": ["hub/model"]}}
POOLING = {"maxModelLen": 256, "extraArgs": {"runner": "pooling", "convert": "embed"}}
MODELS: dict[str, dict[str, Any]] = {
    "embedding": {"uri": f"hf://{EMBEDDING}", "engine": {"maxModelLen": 256}},
    "ranker": {"uri": f"hf://{RANKER}", "engine": {"maxModelLen": 256}},
    "llama-embedding": {"engine": POOLING},
}


@pytest.fixture(scope="module")
def served(namespace: Namespace) -> Namespace:
    for name, spec in MODELS.items():
        namespace.apply(llm(name, server=SERVER, **spec))
    namespace.wait_ready(*MODELS)
    return namespace


def post(served: Namespace, client: Client, name: str, path: str, **body: Any) -> Any:
    answer = client.post(f"http://{name}.{served.name}:9000{path}", {"model": "hub/model", **body})
    assert answer.status == 200, answer
    return answer.json()


@pytest.mark.parametrize("name", ["embedding", "llama-embedding"])
def test_texts_are_embedded(served: Namespace, client: Client, name: str) -> None:
    assert len(post(served, client, name, "/v1/embeddings", input="Hello")["data"][0]["embedding"]) == 128


def test_documents_are_ranked(served: Namespace, client: Client) -> None:
    assert len(post(served, client, "ranker", "/rerank", query="a", documents=["b", "c"])["results"]) == 2


def test_a_model_that_only_embeds_is_served_without_a_plan(served: Namespace) -> None:
    assert served.condition("embedding", "ModelResolved")["reason"] == "PoolingNotPlanned"
    assert served.condition("llama-embedding", "ModelResolved")["status"] == "True"
