"""A field that vLLM does not know is rejected with what to write instead of it."""

from __future__ import annotations

from typing import Any

import pytest

from backend.errors import BadRequest
from backend.openai.fields import (
    ALLOW_VARIABLE,
    check_fields,
    check_idle,
    check_inner,
    check_media,
    check_tools,
    unknown_are_allowed,
)

CHAT = frozenset(
    {"model", "messages", "max_tokens", "max_completion_tokens", "structured_outputs", "tools", "tool_choice"}
)
RESPONSES = frozenset({"model", "input", "max_output_tokens", "text"})


@pytest.mark.parametrize(
    ("known", "request_", "words"),
    [
        (CHAT, {"guided_json": {}}, 'unknown field \'guided_json\'. Write "structured_outputs": {"json": SCHEMA}.'),
        (CHAT, {"guided_choice": ["a"]}, 'Write "structured_outputs": {"choice": [TEXT, ...]}.'),
        (CHAT, {"max_new_tokens": 5}, "Write max_tokens."),
        (CHAT, {"max_output_tokens": 5}, "Write max_tokens."),
        (RESPONSES, {"max_tokens": 5}, "Write max_output_tokens."),
        (RESPONSES, {"max_completion_tokens": 5}, "Write max_output_tokens."),
        (CHAT, {"functions": []}, "Write tools."),
        (CHAT, {"lora_name": "poet"}, "Write the adapter's name as 'model'."),
        (CHAT, {"message": []}, "Correct its name (did you mean 'messages'?)."),
        (CHAT, {"zzz": 1}, "unknown field 'zzz'. Remove it."),
        (CHAT, {"modalities": ["audio"]}, "Remove it."),
        (CHAT, {"x" * 1000: 1}, "unknown field '" + "x" * 80 + "'."),
    ],
)
def test_an_unknown_field_is_rejected(known: frozenset[str], request_: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequest) as error:
        check_fields({"model": "m", **request_}, known)
    assert words in str(error.value)


@pytest.mark.parametrize(
    "request_",
    [
        {"metadata": {"a": "b"}},
        {"store": False},
        {"zzz": None},
        {"modalities": ["text"]},
        {"model": "m"},
        {"return_documents": True},
        {"stream_options": {"include_obfuscation": False}},
    ],
)
def test_what_asks_for_nothing_is_taken(request_: dict[str, Any]) -> None:
    check_fields(request_, CHAT)


INNER = {
    "response_format": frozenset({"type", "json_schema"}),
    "response_format.json_schema": frozenset({"name", "schema", "strict"}),
    "stream_options": frozenset({"include_usage", "continuous_usage_stats"}),
}


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (
            {"response_format": {"type": "json_object", "schema": {}}},
            'unknown field \'response_format.schema\'. Write {"type": "json_schema", "json_schema":',
        ),
        ({"response_format": {"json_schema": {"json_schema": {}}}}, "Write schema."),
        ({"response_format": {"json_schema": {"stric": True}}}, "(did you mean 'strict'?)"),
        ({"stream_options": {"include_usag": True}}, "(did you mean 'include_usage'?)"),
        ({"stream_options": {"include_obfuscation": True}}, "unknown field 'stream_options.include_obfuscation'"),
    ],
)
def test_an_unknown_key_of_an_object_is_rejected(request_: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequest) as error:
        check_inner(request_, INNER)
    assert words in str(error.value)


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"response_format": None},
        {"response_format": "text"},
        {"response_format": {"type": "text", "json_schema": None, "zzz": None}},
        {"response_format": {"json_schema": {"schema": {"anything": 1}}}},
        {"stream_options": {"include_usage": True, "include_obfuscation": False}},
    ],
)
def test_keys_of_objects_that_are_known_are_taken(request_: dict[str, Any]) -> None:
    check_inner(request_, INNER)


@pytest.mark.parametrize(
    ("idle", "nothing"),
    [
        ({"return_token_offsets": True}, {"return_token_offsets": False}),
        ({"mm_payload": "none"}, {"mm_payload": "tensors"}),
        ({"return_mm_kwargs": False}, {"return_mm_kwargs": None}),
        ({"text": {"verbosity": "low"}}, {"text": {"verbosity": "medium", "format": {}}}),
        ({"length_penalty": 2.0}, {"length_penalty": 1.0}),
        ({"length_penalty": 2.0, "use_beam_search": False}, {"length_penalty": 2.0, "use_beam_search": True}),
    ],
)
def test_what_would_have_no_effect_is_rejected(idle: dict[str, Any], nothing: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="has no effect"):
        check_idle(idle)
    check_idle(nothing)


@pytest.mark.parametrize("kind", ["web_search_preview", "file_search", "mcp", "code_interpreter"])
def test_tools_of_openais_own_servers_are_rejected(kind: str) -> None:
    with pytest.raises(BadRequest, match=f"'tools' has one of type '{kind}'"):
        check_tools({"tools": [{"type": "function", "name": "f"}, {"type": kind}]})


@pytest.mark.parametrize("tools", [None, [], "x", [1, {}, {"type": 5}, {"type": "function"}, {"type": "custom"}]])
def test_tools_of_the_client_and_what_vllm_rejects_pass(tools: Any) -> None:
    check_tools({"tools": tools})


def test_a_part_that_is_no_text_is_rejected_for_a_model_of_text() -> None:
    for kind in ("image_url", "input_image", "input_audio", "video_url"):
        with pytest.raises(BadRequest, match=f"Remove the part of type '{kind}'"):
            check_media([{"content": "a"}, {"content": [{"type": "text"}, {"type": kind}]}])
    for harmless in (None, "text", [1, {}, {"content": [1, {"type": "text"}, {"type": []}]}]):
        check_media(harmless)


def test_the_variable_lets_unknown_fields_pass() -> None:
    assert unknown_are_allowed({ALLOW_VARIABLE: "True"})
    assert not unknown_are_allowed({})
