"""What a client may send without harm to the engine: values of a wrong type or size, for each task and protocol."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fuzz.__main__ as fuzzing
from testing.server import Answer, Server, running

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

GENERATE = "/v2/models/llm/generate"
SEED, SECONDS, CLIENTS = 5, 30.0, 2
# Which number of anything is at most in an array of a worker is in backend/patches/checked_requests.py.
MANY_STOPS = {"stop_token_ids": list(range(5, 205)), "min_tokens": 1}


def _started(kind: str, folder: Path) -> Iterator[Server]:
    fuzzing.write_server(folder / "models", kind)
    with running(folder, folder / "models") as server:
        yield server


@pytest.fixture(scope="module")
def pooler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A BERT for embeddings, behind both protocols."""
    yield from _started("embedding", tmp_path_factory.mktemp("pooler"))


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Llama with an adapter, a short context and the limits of an image without configuration."""
    yield from _started("lora", tmp_path_factory.mktemp("generator"))


def embed(server: Server, request: Any, **inputs: Any) -> Answer:
    """POST generate with an embedding_request."""
    return server.generate("-", embedding_request=json.dumps(request), **inputs)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"input": [True]}, "list of token ids (integers)"),
        ({"input": [5.0]}, "list of token ids (integers)"),
        ({"input": [None]}, "list of token ids (integers)"),
        ({"input": [[5]]}, "list of token ids (integers)"),
        ({"input": ["Hello"]}, "must be one text"),
        ({"input": ""}, "not empty"),
        ({"input": []}, "not empty"),
        ({"input": {"a": 1}}, "must be one text"),
        ({}, "must be one text"),
        ({"input": [10**30]}, "out of vocabulary"),
        ({"input": [-1]}, "out of vocabulary"),
        ({"input": [384]}, "vocabulary"),
        ({"input": [5] * 513}, "maximum context length is 512"),
        ({"input": "Hello", "dimension": 4}, "unknown key 'dimension'; allowed: input, pooling_params, dimensions"),
        ({"input": "Hello", "normalize": True}, "unknown key 'normalize'"),
        ({"input": "Hello", "pooling_params": {"task": "classify"}}, "unknown key 'pooling_params.task'"),
        ({"input": "Hello", "pooling_params": [1]}, "'pooling_params' must be an object"),
        ({"input": "Hello", "dimensions": True}, "'dimensions' must be an integer, not a boolean"),
        ({"input": "Hello", "dimensions": 10**30}, "'dimensions' must be an integer"),
        ({"input": "Hello", "dimensions": 4}, "does not support Matryoshka"),
        ({"input": "Hello", "use_activation": "often"}, "'use_activation' must be a boolean"),
        ({"input": "Hello", "dimensions": 4, "pooling_params": {"dimensions": 4}}, "'dimensions' is set twice"),
        ([1], "must be a JSON object"),
    ],
)
def test_values_of_an_embedding_request(pooler: Server, request_: Any, words: str) -> None:
    answer = embed(pooler, request_)
    assert (answer.status, words in answer.error) == (400, True), answer
    assert embed(pooler, {"input": "Hello"}).status == 200


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"stream": True}, "'stream' does not apply"),
        ({"return_logprobs": True}, "'return_logprobs' does not apply"),
        ({"image": "AAAA"}, "'image' does not apply"),
        ({"max_tokens": 5}, "'max_tokens' does not apply"),
        ({"sampling_parameters": '{"temperature": 0}'}, "'temperature' does not apply"),
    ],
)
def test_inputs_that_have_no_meaning_for_an_embedding(pooler: Server, inputs: dict[str, Any], words: str) -> None:
    path = f"{GENERATE}_stream" if "stream" in inputs else GENERATE
    body = {"text_input": "-", "embedding_request": '{"input": "Hello"}', **inputs}
    answer = pooler.request("POST", path, body)
    assert (answer.status, words in answer.error) == (400, True), answer


@pytest.mark.parametrize("use_activation", [True, False])
def test_what_an_embedding_request_asks_for_is_done(pooler: Server, use_activation: bool) -> None:
    answer = embed(pooler, {"input": [5, 6, 7], "pooling_params": {"use_activation": use_activation}})
    vector = json.loads(answer.body["text_output"])
    assert (sum(x * x for x in vector) == pytest.approx(1, abs=1e-3)) is use_activation


@pytest.mark.parametrize("prompt", [[True], [[True, 5]], [5, None], [5.5], [10**30], [-1], [384], {"a": 1}])
def test_token_ids_of_openais_embeddings(pooler: Server, prompt: Any) -> None:
    answer = pooler.request("POST", "/v1/embeddings", {"model": "llm", "input": prompt}, port=pooler.front_port)
    assert answer.status in (200, 400), answer
    assert embed(pooler, {"input": "Hello"}).status == 200


@pytest.mark.parametrize(
    ("sampling", "words"),
    [
        ({"seed": 2**63 - 1, "n": 2, "temperature": 1.0}, "seed must be within 64 bits"),
        (MANY_STOPS, "stop_token_ids with min_tokens has"),
        ({"bad_words": ["the quick brown fox " * 900]}, "bad_words has"),
        ({"extra_args": {"a": 10**30}}, "extra_args integers must be"),
        ({"logit_bias": {"384": 1}}, "out-of-vocab"),
        ({"stop": ["\ud800"]}, "not valid Unicode"),
        ({"prompt_logprobs": 2}, "prompt_logprobs and echo with logprobs are not available on a CPU engine with LoRA"),
    ],
)
@pytest.mark.parametrize("protocol", ["generate", "completions"])
def test_sampling_that_a_worker_cannot_hold(
    generator: Server, protocol: str, sampling: dict[str, Any], words: str
) -> None:
    if protocol == "generate":
        answer = generator.generate(sampling_parameters=json.dumps(sampling))
    else:
        known = {"extra_args": "vllm_xargs"}
        body = {"model": "llm", "prompt": "Hello", **{known.get(key, key): value for key, value in sampling.items()}}
        answer = generator.request("POST", "/v1/completions", body, port=generator.front_port)
    assert answer.status == 400, answer
    assert protocol != "generate" or words in answer.error, answer
    assert generator.generate(max_tokens=1).status == 200


def test_a_number_of_tokens_beyond_the_context_is_the_contexts(generator: Server) -> None:
    answer = generator.generate(max_tokens=2**63 - 1, ignore_eos=True, return_num_output_tokens=True)
    assert answer.status == 200
    assert answer.body["num_output_tokens"] > 400
    both = {"max_tokens": 2**40, "min_tokens": 2**35, "return_num_output_tokens": True}
    assert generator.generate(**both).body["num_output_tokens"] > 400


@pytest.mark.parametrize("prompt", [[True], [5, True], [5.5], [384], [10**30], [-1], [[True, 5]]])
def test_token_ids_of_a_completion(generator: Server, prompt: Any) -> None:
    body = {"model": "llm", "prompt": prompt, "max_tokens": 1}
    answer = generator.request("POST", "/v1/completions", body, port=generator.front_port)
    assert answer.status in (200, 400), answer
    assert generator.generate(max_tokens=1).status == 200


@pytest.mark.parametrize("kind", ["pooler", "generator"])
def test_random_hostile_requests(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    server: Server = request.getfixturevalue(kind)
    assert fuzzing.fuzz(server, SEED, SECONDS, tmp_path, print, CLIENTS) == []
