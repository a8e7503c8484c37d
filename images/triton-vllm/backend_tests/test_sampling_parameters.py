"""Whatever a client sends as sampling parameters becomes values of the right types, or an error that names it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.engine.sampling_parameters import (
    Sampling,
    SamplingRules,
    from_json_text,
    from_request_parameters,
    parameter_fields,
    unset,
)
from backend.errors import BadRequest
from backend.settings import SamplingSettings
from contract.limits import RequestLimits


@dataclass
class Grammar:
    """Like vLLM's StructuredOutputsParams."""

    json: str | dict[str, Any] | None = None
    choice: list[str] | None = None
    regex: str | None = None


@dataclass
class Params:
    """The kinds of fields that vLLM's SamplingParams has."""

    n: int = 1
    temperature: float = 1.0
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    max_tokens: int | None = 16
    logprobs: int | None = None
    logit_bias: dict[int, float] | None = None
    structured_outputs: Grammar | None = None
    extra_args: dict[str, Any] | None = None
    output_kind: int = 0
    skip_clone: bool = False


FIELDS = parameter_fields(Params)
RULES = SamplingRules(
    fields=FIELDS,
    settings=SamplingSettings({"temperature": 0.5, "max_tokens": 100}, {"exact": {"temperature": 0}}),
    limits=RequestLimits(max_n=4, max_list=3, max_logprobs=5),
    model_defaults={"temperature": 0.7, "seed": 1},
)


def test_internal_fields_are_not_the_clients() -> None:
    assert "output_kind" not in FIELDS
    assert "skip_clone" not in FIELDS
    with pytest.raises(BadRequest, match="unknown sampling parameter 'output_kind'"):
        RULES.build({"output_kind": 1})


def test_own_values_win_over_the_profile_over_the_defaults_over_the_models() -> None:
    assert RULES.build({}).values == {"temperature": 0.5, "max_tokens": 100, "seed": 1}
    assert RULES.build({"profile": "exact"}).values == {"temperature": 0.0, "max_tokens": 100, "seed": 1}
    own = RULES.build({"profile": "exact", "temperature": 2, "max_new_tokens": 5, "lora_name": "a", "priority": 0})
    assert own == Sampling({"temperature": 2.0, "max_tokens": 5, "seed": 1}, "a")


def test_how_the_prompt_becomes_tokens_is_no_sampling_parameter() -> None:
    rules = SamplingRules(FIELDS, SamplingSettings({"add_special_tokens": False}, {}), context=100)
    given = {"truncate_prompt_tokens": "7", "truncation_side": "left"}
    sampling = rules.build(given, as_text=True)
    assert sampling.values == {}
    assert sampling.tokenization == {
        "truncate_prompt_tokens": 7,
        "truncation_side": "left",
        "add_special_tokens": False,
    }
    assert rules.build({}).tokenization == {"add_special_tokens": False}
    assert rules.build({"truncate_prompt_tokens": -1}).tokenization["truncate_prompt_tokens"] == 99


@pytest.mark.parametrize("length", [0, -2, -(2**62)])
def test_a_prompt_is_not_cut_to_nothing(length: int) -> None:
    with pytest.raises(BadRequest, match=r"'truncate_prompt_tokens' must be .* not " + str(length)):
        RULES.build({"truncate_prompt_tokens": length})


def test_what_the_engine_would_ignore_is_rejected() -> None:
    able = SamplingRules({**FIELDS, "watermarking": bool | None}, watermarks=True, priorities=True)
    unable = SamplingRules(able.fields)
    for values, words in (({"priority": 1}, "scheduling_policy"), ({"watermarking": True}, "watermark_config")):
        able.build(values)
        with pytest.raises(BadRequest, match=words):
            unable.build(values)
    assert able.build({"priority": -3}).priority == -3
    assert unable.build({"priority": 0, "watermarking": False}).priority == 0


@pytest.mark.parametrize(
    ("levels", "given", "expected"),
    [
        (({"min_tokens": 2, "max_tokens": 512},), {"max_tokens": 1}, {"min_tokens": 1}),
        (({"min_tokens": 2, "max_tokens": 512},), {"min_tokens": 600}, {"max_tokens": 600}),
        (({"max_tokens": 8}, {"min_tokens": 20, "max_tokens": 512}), {}, {"max_tokens": 8, "min_tokens": 8}),
        (({"max_tokens": 5000, "min_tokens": 3000},), {}, {"max_tokens": 1000, "min_tokens": 1000}),
        (({"temperature": 0}, {"n": 2}), {}, {"temperature": 0}),
        (({"temperature": 0},), {"n": 2}, {}),
        (({"stop": ["a"]},), {"detokenize": False}, {}),
        (({"max_tokens": 5},), {"max_tokens": None}, {}),
    ],
)
def test_defaults_yield(levels: Any, given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert unset(given, levels, 1000) == expected


def test_limits_are_for_what_a_request_says() -> None:
    many = SamplingRules(
        FIELDS, SamplingSettings({"stop": list("abcde"), "n": 8}, {}), RequestLimits(max_n=4, max_list=3)
    )
    assert many.build({}).values["n"] == 8
    with pytest.raises(BadRequest, match="'stop' has 4 entries"):
        many.build({"stop": list("abcd")})


@pytest.mark.parametrize(
    ("name", "given", "wanted"),
    [
        ("n", "2", 2),
        ("n", 2.0, 2),
        ("temperature", "0.25", 0.25),
        ("temperature", 1, 1.0),
        ("ignore_eos", "true", True),
        ("ignore_eos", 1, True),
        ("seed", None, None),
        ("stop", "word", "word"),
        ("stop", '["a", "b"]', ["a", "b"]),
        ("stop", "[not JSON", "[not JSON"),
        ("stop_token_ids", "[1, 2]", [1, 2]),
        ("logit_bias", '{"5": 1}', {5: 1.0}),
        ("structured_outputs", '{"choice": ["a"]}', Grammar(choice=["a"])),
        ("structured_outputs", {"regex": "a"}, Grammar(regex="a")),
    ],
)
def test_values_take_their_fields_type(name: str, given: Any, wanted: Any) -> None:
    value = RULES.build({name: given}, as_text=True).values[name]
    assert value == wanted
    assert type(value) is type(wanted)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"n": True}, "'n' must be an integer, not a boolean"),
        ({"n": 1.5}, "'n' must be an integer, not 1.5"),
        ({"n": 5}, "'n' must be at most 4, not 5"),
        ({"n": 2**70}, "64 bits"),
        ({"temperature": float("inf"), "n": float("inf")}, "'n' must be an integer"),
        ({"stop": [1]}, "'stop' must be"),
        ({"stop": ["a"] * 4}, "'stop' has 4 entries; at most 3"),
        ({"logit_bias": {"x": 1}}, "'logit_bias' must be an object"),
        ({"structured_outputs": {"poem": 1}}, "unknown key 'poem'; allowed: json, choice, regex"),
        ({"max_tokens": 1, "max_new_tokens": 1}, "mean the same"),
        ({"logprobs": -1}, "'logprobs' must be at most 5, not -1, which is all"),
        ({"lora_name": 1}, "'lora_name' must be text"),
        ({"MAX_TOKENS": 1}, "did you mean 'max_tokens'?"),
        ({"maxTokens": 1}, "did you mean 'max_tokens'?"),
        ({"profile": []}, "'profile' must be text, not a list"),
        ({"profile": "x"}, "allowed: exact"),
    ],
)
def test_mistakes_are_named(values: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequest) as error:
        RULES.build(values)
    assert words in str(error.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
NAMES = st.sampled_from([*FIELDS, "max_new_tokens", "lora_name", "profile"]) | st.text(max_size=8)


@given(st.dictionaries(NAMES, JSON | JSON.map(json.dumps), max_size=5), st.booleans())
def test_anything_is_values_or_a_client_error(values: dict[str, Any], as_text: bool) -> None:
    try:
        sampling = RULES.build(values, as_text=as_text)
    except BadRequest:
        return
    for name, value in sampling.values.items():
        if name in ("n", "max_tokens") and value is not None:
            assert type(value) is int


@given(st.text() | JSON.map(json.dumps))
def test_any_text_is_an_object_or_a_client_error(text: str) -> None:
    for parse in (from_json_text, from_request_parameters):
        try:
            assert isinstance(parse(text), dict)
        except BadRequest:
            continue
