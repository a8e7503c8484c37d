"""The short way answers as FastAPI's own does, in an application as small as can be, in the engine's environment."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from backend.openai.client_errors import attribute_to_grammar
from testing.server import script_lines

pytestmark = pytest.mark.engine

SCRIPT = """
import json, sys
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, field_validator
from starlette.testclient import TestClient
from backend.openai.client_errors import filter_stream
from backend.patches.direct_routes import install

class Asked(BaseModel):
    number: int

    @field_validator("number")
    @classmethod
    def trip(cls, value):
        return {}[value] if value == 13 else value

def application():
    made = FastAPI()
    made.add_exception_handler(KeyError, stumbled)

    @made.post("/v1/completions")
    async def answer(request: Asked, raw_request: Request):
        if request.number == 99:
            raise KeyError(request.number)
        if request.number != 0:
            short = raw_request.scope["endpoint"] is not answer
            return JSONResponse({"number": request.number, "short": short})

    return made

async def stumbled(request, error):
    return JSONResponse({"stumbled": await request.json()}, 400)

plain, ours = application(), application()
install(ours, ("/v1/chat/completions", "/v1/completions"), filter_stream)
for body, kind in json.loads(sys.argv[1]):
    for each in (plain, ours):
        answers = TestClient(each).post("/v1/completions", content=body, headers={"content-type": kind} if kind else {})
        print(json.dumps([answers.status_code, answers.text]))
"""
JSON = "application/json"
ASKED = {
    "right": ('{"number": 7}', "Application/JSON; charset=utf-8"),
    "gone": ('{"number": 0}', JSON),
    "wrong type": ('{"number": "x"}', JSON),
    "no object": ("[1]", JSON),
    "no JSON": ("{", JSON),
    "empty": ("", JSON),
    "another content type": ('{"number": 7}', "text/plain"),
    "no content type": ('{"number": 7}', ""),
    "a validator that stumbles": ('{"number": 13}', JSON),
    "an answer that stumbles": ('{"number": 99}', JSON),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Any]]:
    """What each request got from the plain application and from the one with a short way."""
    asked = json.dumps(list(ASKED.values()))
    lines = [json.loads(line) for line in script_lines(tmp_path_factory.mktemp("routes"), SCRIPT, asked)]
    return dict(zip(ASKED, zip(lines[::2], lines[1::2], strict=True), strict=True))


def test_a_request_that_is_right_goes_the_short_way(answers: dict[str, tuple[Any, Any]]) -> None:
    (_, plain), (_, ours) = answers["right"]
    assert json.loads(plain) == {"number": 7, "short": False}
    assert json.loads(ours) == {"number": 7, "short": True}


@pytest.mark.parametrize("name", sorted(set(ASKED) - {"right", "gone"}))
def test_all_else_is_answered_as_without_it(answers: dict[str, tuple[Any, Any]], name: str) -> None:
    plain, ours = answers[name]
    assert plain[0] in (400, 422)
    assert ours == plain


def test_in_a_stream_only_a_fault_of_vllms_own_becomes_the_grammars() -> None:
    events = ['data: {"choices": []}\n\n', 'data: {"error": {"code": 503}}\n\n', "data: [DONE]\n\n"]
    fault = 'data: {"error": {"code": 500}}\n\n'

    async def answers() -> AsyncIterator[str]:
        for event in (*events[:2], fault, *events[2:]):
            yield event

    async def run() -> list[str]:
        return [event async for event in attribute_to_grammar(answers())]

    found = asyncio.run(run())
    assert [*found[:2], *found[3:]] == events
    assert json.loads(found[2].removeprefix("data: "))["error"]["code"] == 400
    assert found[2].endswith("\n\n")


def test_a_client_that_has_left_gets_an_answer_that_is_not_read(answers: dict[str, tuple[Any, Any]]) -> None:
    assert answers["gone"][1] == [499, ""]
