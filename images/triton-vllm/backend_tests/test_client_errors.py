"""Whose fault an exception of vLLM's is, by where it was raised."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from backend.openai.client_errors import has_grammar, holds_no_request, unreadable_request


def process_inputs(error: Exception) -> None:
    """Stands for vLLM's function of this name."""
    raise error


def run_the_engine(error: Exception) -> None:
    raise error


def generate(where: Callable[[Exception], None], cause: Exception) -> Exception:
    """What the engine's `generate` makes of an exception."""
    try:
        try:
            where(cause)
        except Exception as error:
            raise RuntimeError from error
    except RuntimeError as wrapped:
        return wrapped
    raise AssertionError("nothing was raised")


def test_prompt_without_a_place_for_its_image_is_the_clients_fault() -> None:
    told = unreadable_request(generate(process_inputs, AssertionError("no place for mm_items['image'][0]")))
    assert "placeholder" in told
    assert "no place for mm_items['image'][0]" in told


@pytest.mark.parametrize(
    ("where", "cause"), [(run_the_engine, AssertionError("x")), (process_inputs, MemoryError("x"))]
)
def test_anything_else_is_ours(where: Callable[[Exception], None], cause: Exception) -> None:
    assert unreadable_request(generate(where, cause)) == ""
    assert unreadable_request(cause) == ""


def test_what_cannot_be_sent_to_the_engine_is_told_without_its_text() -> None:
    told = unreadable_request(
        generate(process_inputs, UnicodeEncodeError("utf-8", "secret \ud800", 7, 8, "surrogates"))
    )
    assert "not valid Unicode" in told
    assert "secret" not in told


def test_names_that_clients_give_stay_out_of_the_log() -> None:
    def line(message: str) -> logging.LogRecord:
        return logging.LogRecord("vllm", logging.ERROR, __file__, 1, message, ("x",), None)

    assert not holds_no_request(line("Error with model %s"))
    assert holds_no_request(line("Engine %s died"))


@pytest.mark.parametrize(
    ("body", "has"),
    [
        ({"structured_outputs": {"regex": "a"}}, True),
        ({"response_format": {"type": "json_object"}}, True),
        ({"text": {"format": {"type": "json_schema"}}, "input": "x"}, True),
        ({"structured_outputs": None, "prompt": "x"}, False),
        ([], False),
    ],
)
def test_only_a_request_with_a_grammar_can_have_a_wrong_one(body: object, has: bool) -> None:
    assert has_grammar(body) is has


@pytest.mark.parametrize(("error", "written"), [(ValueError("a secret"), False), (RuntimeError("broken"), True)])
def test_the_log_has_no_error_of_a_client_of_anthropics_protocol(error: Exception, written: bool) -> None:
    info = (type(error), error, None)
    record = logging.LogRecord("vllm", logging.ERROR, "x", 1, "Error in create_messages: %s", (error,), info)
    assert holds_no_request(record) is written
