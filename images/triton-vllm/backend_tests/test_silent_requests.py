"""Settings of a spec never break a request that does not set the parameter itself, on any protocol."""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from testing.server import TINY_ENGINE, Answer, Server, running, script_lines, tiny_model, write_model
from triton_vllm_operator.api.schema import Model
from triton_vllm_operator.api.spec import EngineSpec, LimitsSpec, SamplingValues
from triton_vllm_operator.api.spec.sampling import SamplingSpec
from triton_vllm_operator.desired.request_files import sampling_values

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

CONTEXT = 64
# Each of these made every request fail that did not set the parameter: the proof of one token, a chat, ...
DEFAULTS = {
    "min_tokens": 5,
    "max_tokens": 100_000,
    "stop": [f"stop {number}" for number in range(16)],
    "temperature": 0,
    "seed": 2**62,
    "top_k": 2**40,
}
PROFILES = {"long": {"min_tokens": 60_000, "max_tokens": 70_000}, "cold": {"temperature": 0, "min_tokens": 0}}
LIMITS = {"max_list": 1, "max_n": 2, "max_logprobs": 0, "max_prompt_bytes": 5, "max_images": 0, "max_body_bytes": 512}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Hi"}]},
    "/v1/completions": {"prompt": "Hi"},
    "/v1/responses": {"input": "Hi"},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A short context, small limits, and defaults beyond both."""
    folder = tmp_path_factory.mktemp("silent")
    engine = {**TINY_ENGINE, "model": str(tiny_model()), "max_model_len": CONTEXT, "hf_overrides": {}}
    sampling = {"defaults": DEFAULTS, "profiles": PROFILES}
    write_model(folder / "models", "llm", engine, sampling=sampling, limits=LIMITS, openai={})
    with running(folder, folder / "models") as started:
        yield started


def openai(server: Server, path: str, **body: Any) -> Answer:
    """POST to the OpenAI port."""
    return server.request("POST", path, {"model": "llm", **BODIES[path], **body}, port=server.front_port)


@pytest.mark.parametrize("profile", [None, *PROFILES])
def test_requests_without_parameters_are_answered(server: Server, profile: str | None) -> None:
    named = {} if profile is None else {"profile": profile}
    assert server.generate("Hi", **named).status == 200
    for path in BODIES:
        answer = openai(server, path, **named)
        assert answer.status == 200, (path, answer)


def test_a_request_for_one_token_gets_one(server: Server) -> None:
    # The operator's own proof.
    answer = server.generate("1", parameters={"max_tokens": 1}, return_num_output_tokens=True)
    assert (answer.status, answer.body.get("num_output_tokens")) == (200, 1), answer
    assert openai(server, "/v1/completions", max_tokens=1).body["usage"]["completion_tokens"] == 1
    assert openai(server, "/v1/chat/completions", max_completion_tokens=1).body["usage"]["completion_tokens"] == 1
    assert openai(server, "/v1/responses", max_output_tokens=1).status == 200


def test_the_default_of_min_tokens_applies_to_every_protocol(server: Server) -> None:
    everything = {"logit_bias": {"1": 100}, "max_tokens": 20}  # the model ends at once where it may
    assert openai(server, "/v1/completions", profile="cold", **everything).body["usage"]["completion_tokens"] == 1
    assert openai(server, "/v1/completions", **everything).body["usage"]["completion_tokens"] > 5
    assert openai(server, "/v1/completions", min_tokens=2, **everything).body["usage"]["completion_tokens"] == 3


def test_two_answers_are_sampled_though_the_default_is_greedy(server: Server) -> None:
    answer = openai(server, "/v1/completions", n=2)
    assert (answer.status, len(answer.body.get("choices", ()))) == (200, 2), answer
    assert server.generate("Hi", sampling_parameters='{"n": 2}').status == 200


def test_limits_are_for_what_a_client_sends(server: Server) -> None:
    assert openai(server, "/v1/completions", stop=["a", "b"]).status == 400


SCRIPT = """
import json, sys
from backend.container.resources import allow_stop_strings
import os
allow_stop_strings(0, os.environ)
from vllm import SamplingParams
from backend.engine.sampling_parameters import SamplingRules, parameter_fields, typed_settings
from backend.openai.application import SILENT, _request_fields, _request_types
from backend.openai.middleware import MESSAGES, BodyRules
from backend.settings import SamplingSettings
from backend.triton.inputs import read_inputs
from backend.triton.service import _sampling_params
from contract.limits import RequestLimits
fields, names, types = parameter_fields(SamplingParams), _request_fields(), _request_types()
for line in open(sys.argv[1]):
    drawn = json.loads(line)
    limits, context = RequestLimits(**drawn.pop("limits")), drawn.pop("context")
    sampling = SamplingSettings(**drawn)
    rules = SamplingRules(fields, typed_settings(sampling, fields), limits, context=context)
    bodies = BodyRules(names, rules, sampling)
    # As short as a prompt can be: the limit for its bytes may be one.
    proof = {"text_input": [b"1"]}
    assert read_inputs(proof.get, '{"max_tokens": 1}', limits).text == "1"
    for profile in (None, "p"):
        for own in ({}, {"max_tokens": 1}, {"min_tokens": 2}, {"n": 2}, {"temperature": 0}, {"stream": True}):
            if own.get("n", 1) > limits.max_n:
                continue
            if "stream" not in own:
                _sampling_params(rules.build({"profile": profile, **own}), False)
            for path, silent in json.loads(json.dumps(SILENT).replace("Hello", "1")).items():
                asked = {key: value for key, value in own.items() if key in names[path]}
                body = {**silent, **asked, **({"profile": profile} if profile else {})}
                request = types[path].model_validate(json.loads(bodies.apply(path, json.dumps(body).encode())))
                left = context - 1
                sought = getattr(request, "max_tokens", None) or getattr(request, "max_output_tokens", None) or left
                if path != MESSAGES:
                    request.to_sampling_params(min(sought, left), {})
print("done")
"""


def drawn(chance: random.Random, model: type[Model], names: Collection[str] = ()) -> dict[str, Any]:
    """Values within the bounds of the schema, often at one of them. `names`: of the fields, by default all."""
    found: dict[str, Any] = {}
    schema = model.model_json_schema(by_alias=False)["properties"]
    for name, field in schema.items():
        kind = next((each for each in field.get("anyOf", [field]) if each.get("type") != "null"), field)
        if chance.random() < 0.5 or (names and name not in names):
            continue
        if kind.get("type") == "array":
            found[name] = [chance.choice("abc") * 200 + str(number) for number in range(chance.randrange(17))]
        elif kind["type"] == "boolean":
            found[name] = chance.random() < 0.5
        else:
            low = kind.get("minimum", kind.get("exclusiveMinimum", 0) + (1e-9 if "exclusiveMinimum" in kind else 0))
            high = kind.get("maximum", 2**62 if kind["type"] == "integer" else 1e300)
            value = chance.choice((low, high, chance.uniform(low, min(high, 1000))))
            found[name] = int(value) if kind["type"] == "integer" else value
    return found


def test_whatever_the_schema_admits_is_admitted_by_every_protocols_own_request(tmp_path: Path) -> None:
    chance = random.Random(3)
    lines: list[str] = []
    while len(lines) < 300:
        defaults, profile = drawn(chance, SamplingValues), drawn(chance, SamplingValues)
        for values in (defaults, profile):  # the rules of the schema between its fields
            values.pop("min_tokens", None) if "max_tokens" not in values else None
            if values.get("min_tokens", 0) > values.get("max_tokens", 0):
                values["min_tokens"] = values["max_tokens"]
        SamplingSpec.model_validate({"defaults": defaults, "profiles": [{"name": "p", **profile}]})
        given = [sampling_values(SamplingValues(**values)) for values in (defaults, profile)]
        limits = drawn(chance, LimitsSpec)
        LimitsSpec.model_validate(limits)
        context = drawn(chance, EngineSpec, ("max_model_len",)).get("max_model_len", 4096)
        settings = {"defaults": given[0], "profiles": {"p": given[1]}, "limits": limits, "context": context}
        lines.append(json.dumps(settings))
    (tmp_path / "settings").write_text("\n".join(lines))
    assert script_lines(tmp_path, SCRIPT, str(tmp_path / "settings"))[-1] == "done"


# What changes how much an engine can do for a request; the rest needs another model or another machine.
ENGINE = ("max_model_len", "max_num_seqs", "max_num_batched_tokens", "enable_prefix_caching", "enforce_eager", "seed")
MANY = 4096


@pytest.mark.parametrize("draw", range(2))
def test_an_engine_of_drawn_settings_answers_requests_without_parameters(draw: int, tmp_path: Path) -> None:
    chance = random.Random(draw)
    # Every field is set once: at its least, or beyond what the model and this machine have.
    engine: dict[str, Any] = {}
    while not set(ENGINE) <= set(engine):
        engine = {**drawn(chance, EngineSpec, ENGINE), **engine}
    counts = ("max_model_len", "max_num_seqs", "max_num_batched_tokens")
    engine |= {name: min(engine[name], MANY) for name in counts}
    engine["max_model_len"] = min(engine["max_model_len"], 2048)  # the model's own
    engine["max_num_batched_tokens"] = max(engine["max_num_batched_tokens"], engine["max_num_seqs"])
    engine["seed"] %= 2**32
    settings = {"model": str(tiny_model()), "kv_cache_memory_bytes": 64 << 20, **engine}
    write_model(tmp_path / "models", "llm", settings, limits=drawn(chance, LimitsSpec), openai={})
    with running(tmp_path, tmp_path / "models") as server:
        proof = server.generate("1", parameters={"max_tokens": 1}, return_num_output_tokens=True)
        assert (proof.status, proof.body.get("num_output_tokens")) == (200, 1), (engine, proof)
        # A chat needs room for its template.
        for path in BODIES if engine["max_model_len"] > CONTEXT else ("/v1/completions",):
            answer = openai(server, path, **json.loads(json.dumps(BODIES[path]).replace("Hi", "1")))
            assert answer.status == 200, (engine, answer)
