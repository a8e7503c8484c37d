"""The repositories that the operator generates load in the real tritonserver and answer; beside them, embeddings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import Any

import openai
import pytest
import yaml
from openai import OpenAI

from testing.server import Server, running, tiny_model, write_model

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

GOLDEN = sorted((Path(__file__).parents[3] / "operator/tests/desired/golden").glob("*.yaml"))
# What this machine cannot do, whatever the model: it has no GPU.
NEEDS_GPU: dict[str, Any] = {"quantization": None, "kv_cache_dtype": "auto", "tensor_parallel_size": 1}
NEEDS_GPU |= {"pipeline_parallel_size": 1}


def generated(file: Path) -> tuple[str, dict[PurePosixPath, str]]:
    """The model's name; path in the repository -> text, as the pod of a golden file mounts it."""
    documents = {document["kind"]: document for document in yaml.safe_load_all(file.read_text())}
    container = documents["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    option = next(argument for argument in container["args"] if argument.startswith("--model-repository="))
    repository = PurePosixPath(option.split("=", 1)[1])
    mounts = [mount for mount in container["volumeMounts"] if mount["name"] == "repository"]
    paths = {mount["subPath"]: PurePosixPath(mount["mountPath"]).relative_to(repository) for mount in mounts}
    data = documents["ConfigMap"]["data"]
    assert set(paths) == set(data), "every file of the ConfigMap is mounted"
    (name,) = {path.parts[0] for path in paths.values()}
    return name, {path: data[key] for key, path in paths.items()}


def fitted(engine: dict[str, Any]) -> dict[str, Any]:
    """The same engine arguments for a CPU, with little memory."""
    changed = {name: value for name, value in NEEDS_GPU.items() if name in engine}
    # Without a size the KV cache takes gigabytes of this machine, which then stands still for a second now and then.
    small = {"max_model_len": min(2048, engine.get("max_model_len", 2048)), "kv_cache_memory_bytes": 64 << 20}
    return engine | changed | small


def tiny(engine: dict[str, Any]) -> dict[str, Any]:
    """Those arguments with the tiny Llama as the model."""
    return fitted(engine) | {"model": str(tiny_model())}


def lenient(checks: dict[str, Any]) -> dict[str, Any]:
    """The startup checks of a model that knows nothing, on a busy machine."""
    easy = {"pattern": "", "max_seconds": 600, "min_tokens_per_second": 0.001}
    return {name: {key: easy.get(key, value) for key, value in check.items()} for name, check in checks.items()}


CHANGED = {"model.json": tiny, "startup_checks.json": lenient}
"""Files that cannot be as generated here."""


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_a_generated_repository_loads_and_answers(file: Path, tmp_path: Path) -> None:
    name, files = generated(file)
    for path, text in files.items():
        target = tmp_path / "models" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        change = CHANGED.get(path.name)
        target.write_text(text if change is None else json.dumps(change(json.loads(text))))
    with running(tmp_path, tmp_path / "models", model=name) as server:
        answer = server.generate("Hello", model=name, max_tokens=4, ignore_eos=True, return_num_output_tokens=True)
    assert answer.status == 200
    assert answer.body["num_output_tokens"] == 4


def pooling_server(folder: Path, name: str) -> AbstractContextManager[Server]:
    """A server with the tiny model of that name, which generates no text."""
    engine = fitted({"model": str(tiny_model(name)), "max_num_seqs": 8, "max_model_len": 512})
    write_model(folder / "models", name, engine, openai={})
    return running(folder, folder / "models", model=name)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A model for embeddings."""
    with pooling_server(tmp_path_factory.mktemp("embedding"), "embedding") as started:
        yield started


def test_embedding_request(server: Server) -> None:
    request = json.dumps({"input": "Hello world"})
    answer = server.generate("", model="embedding", embedding_request=request, return_num_input_tokens=True)
    assert answer.status == 200, answer
    assert len(json.loads(answer.body["text_output"])) == 128
    assert answer.body["num_input_tokens"] >= 2
    tokens = json.dumps({"input": [5, 6, 7]})
    assert server.generate("", model="embedding", embedding_request=tokens).status == 200


def test_embeddings_by_openais_client_are_the_same(server: Server) -> None:
    client = OpenAI(base_url=f"http://127.0.0.1:{server.front_port}/v1", api_key="none", max_retries=0)
    found = client.embeddings.create(model="embedding", input=["Hello world", "Hello"], encoding_format="float")
    request = json.dumps({"input": "Hello world"})
    ours = json.loads(server.generate("", model="embedding", embedding_request=request).body["text_output"])
    assert [len(one.embedding) for one in found.data] == [128, 128]
    assert found.data[0].embedding == pytest.approx(ours, abs=1e-3)
    assert found.usage.prompt_tokens > 2
    with pytest.raises(openai.APIStatusError) as error:
        client.chat.completions.create(model="embedding", messages=[{"role": "user", "content": "Hello"}])
    assert error.value.status_code in (400, 404)


def test_an_embedding_model_has_the_paths_of_its_task(server: Server) -> None:
    def post(path: str, **body: Any) -> Any:
        answer = server.request("POST", path, {"model": "embedding", **body}, port=server.front_port)
        assert answer.status == 200, (path, answer)
        return answer.body

    assert len(post("/pooling", input="Hello")["data"][0]["data"]) == 128
    assert len(post("/score", text_1="Hello", text_2=["Hello", "world"])["data"]) == 2
    ranked = post("/v1/rerank", query="Hello", documents=["world", "Hello"])["results"]
    assert ranked[0]["document"]["text"] == "Hello"
    assert ranked[0]["relevance_score"] == pytest.approx(1, abs=1e-3)


def test_the_proof_is_of_the_models_task(server: Server, ranker: Server) -> None:
    for each, task in ((server, "embed"), (ranker, "classify")):
        assert each.request("GET", "/report", port=each.front_port).body["task"] == task
        proof = each.request("GET", "/health/proof", port=each.front_port)
        assert (proof.status, proof.body) == (200, {"proven": True, "task": task})


@pytest.fixture(scope="module")
def ranker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A model that scores pairs of texts."""
    with pooling_server(tmp_path_factory.mktemp("ranker"), "ranker") as started:
        yield started


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_documents_are_ranked(ranker: Server, path: str) -> None:
    body = {"model": "ranker", "query": "Hello", "documents": ["one", "two", "three"], "top_n": 2}
    answer = ranker.request("POST", path, body, port=ranker.front_port)
    assert answer.status == 200, answer
    scores = [each["relevance_score"] for each in answer.body["results"]]
    assert len(scores) == 2
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
def test_pairs_are_scored(ranker: Server, path: str) -> None:
    body = {"model": "ranker", "text_1": "Hello", "text_2": ["one", "two"]}
    answer = ranker.request("POST", path, body, port=ranker.front_port)
    assert answer.status == 200, answer
    assert all(0 <= each["score"] <= 1 for each in answer.body["data"])


def test_texts_are_classified(ranker: Server) -> None:
    for path in ("/classify", "/pooling"):
        answer = ranker.request("POST", path, {"model": "ranker", "input": ["one", "two"]}, port=ranker.front_port)
        assert answer.status == 200, answer
        assert len(answer.body["data"]) == 2


def test_paths_of_other_tasks_are_not_there(ranker: Server) -> None:
    for path in ("/v1/embeddings", "/v1/chat/completions", "/v1/messages"):
        answer = ranker.request("POST", path, {}, port=ranker.front_port)
        assert answer.status == 404
        assert "/rerank" in answer.error
        assert path not in answer.error


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"embedding_request": "{}"}, "'input' must be one text or a list of token ids"),
        ({"embedding_request": '{"input": [1.5]}'}, "'input' must be one text or a list of token ids"),
        ({"embedding_request": "x"}, "embedding_request is not JSON"),
        ({}, "the model does not generate text: use embedding_request"),
    ],
)
def test_bad_embedding_requests(server: Server, body: dict[str, Any], words: str) -> None:
    answer = server.generate("Hello", model="embedding", **body)
    assert answer.status == 400
    assert words in answer.error
