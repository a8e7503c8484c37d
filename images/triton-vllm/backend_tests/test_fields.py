"""A field that vLLM does not know is rejected with what to write instead of it."""

from __future__ import annotations

from typing import Any

import pytest

from backend.errors import BadRequest
from backend.openai.fields import ALLOW_VARIABLE, check_fields, unknown_are_allowed

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
    "request_", [{"metadata": {"a": "b"}}, {"store": False}, {"zzz": None}, {"modalities": ["text"]}, {"model": "m"}]
)
def test_what_asks_for_nothing_is_taken(request_: dict[str, Any]) -> None:
    check_fields(request_, CHAT)


def test_the_variable_lets_unknown_fields_pass() -> None:
    assert unknown_are_allowed({ALLOW_VARIABLE: "True"})
    assert not unknown_are_allowed({})
