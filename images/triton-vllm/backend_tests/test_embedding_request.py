"""What a request for an embedding says of its prompt."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backend.errors import BadRequest
from backend.triton.embedding import EmbeddingRequest, read_embedding_request
from contract.limits import RequestLimits

CONTEXT = 512


def read(**request: Any) -> EmbeddingRequest:
    return read_embedding_request(json.dumps({"input": "Hello", **request}), RequestLimits(), CONTEXT)


def test_how_the_prompt_becomes_tokens_and_its_priority() -> None:
    asked = read(truncate_prompt_tokens=8, truncation_side="left", add_special_tokens=False, priority=2)
    assert asked.tokenization == {
        "truncate_prompt_tokens": 8,
        "truncation_side": "left",
        "add_special_tokens": False,
    }
    assert (asked.priority, asked.pooling) == (2, {})
    assert read() == EmbeddingRequest({"prompt": "Hello"}, {})


def test_an_embedding_needs_no_room_for_an_answer() -> None:
    assert read(truncate_prompt_tokens=-1).tokenization == {"truncate_prompt_tokens": CONTEXT}


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"truncate_prompt_tokens": 0}, "must be a number of tokens from 1"),
        ({"truncate_prompt_tokens": True}, "embedding_request 'truncate_prompt_tokens' must be an integer"),
        ({"add_special_tokens": "no"}, "'add_special_tokens' must be a boolean"),
        ({"priority": None}, "'priority' must be an integer, not null"),
        ({"truncate": 5}, "unknown key 'truncate'; allowed: input, pooling_params"),
    ],
)
def test_mistakes_are_named(request_: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequest) as error:
        read(**request_)
    assert words in str(error.value)
