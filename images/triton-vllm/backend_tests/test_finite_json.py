"""Answers of vLLM's application are valid JSON whatever numbers the model gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backend.patches.finite_json import finite
from testing.server import script_lines

NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (NAN, None),
        ([1.5, -INFINITY, [NAN]], [1.5, None, [None]]),
        ({"a": (INFINITY, 2), "b": {"c": NAN}}, {"a": [None, 2], "b": {"c": None}}),
        ("NaN", "NaN"),
        (True, True),
        (2**70, 2**70),
        (None, None),
    ],
)
def test_numbers_that_json_does_not_have_become_null(value: Any, expected: Any) -> None:
    assert finite(value) == expected


SCRIPT = """
from starlette.responses import JSONResponse
from backend.patches import finite_json
finite_json.install()
print(JSONResponse({"logprob": float("nan"), "text": "é"}).body.decode())
try:
    JSONResponse({"x": object()})
except TypeError:
    print("TypeError")
"""


@pytest.mark.engine
def test_starlette_writes_null_and_raises_as_before_for_all_else(tmp_path: Path) -> None:
    first, second = script_lines(tmp_path, SCRIPT)
    assert (json.loads(first), second) == ({"logprob": None, "text": "é"}, "TypeError")
