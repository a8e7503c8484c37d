"""Arguments of vLLM's OpenAI server: which are taken, and why another is not."""

from typing import Any

import pytest

from tests.catalog.samples import nested
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.catalog import argument_table, arguments, openai_arguments

REFUSED: list[tuple[dict[str, Any], Reason, str]] = [
    (
        {"toolCallParser": "hermes"},
        Reason.ARGUMENT_MISSPELT,
        "Did you mean spec.server.openAI.extraArgs.tool_call_parser: hermes?",
    ),
    ({"--tool-call-parser": "hermes"}, Reason.ARGUMENT_MISSPELT, "tool_call_parser: hermes"),
    ({"max_model_len": 1}, Reason.ARGUMENT_UNKNOWN, "Remove spec.server.openAI.extraArgs.max_model_len"),
    ({"apikey": "x"}, Reason.ARGUMENT_UNKNOWN, "does not support apikey"),
    ({"port": 1}, Reason.ARGUMENT_OWNED, "port 9000"),
    ({"api_key": ["x"]}, Reason.ARGUMENT_OWNED, "Set spec.server.openAI.apiKeySecretRef instead"),
    ({"tool_parser_plugin": "/x.py"}, Reason.ARGUMENT_UNSAFE, "imports a Python file"),
    ({"enable_auto_tool_choice": "true"}, Reason.ARGUMENT_TYPE, "enable_auto_tool_choice: true"),
    ({"chat_template": 1}, Reason.ARGUMENT_TYPE, "must be a string"),
    ({"fingerprint_mode": "nine"}, Reason.ARGUMENT_CHOICE, "full, hash, custom, none"),
    ({"default_chat_template_kwargs": nested(40)}, Reason.ARGUMENT_TOO_DEEP, "levels deep"),
    ({"enable_auto_tool_choice": True}, Reason.ARGUMENTS_CONTRADICT, "tool_call_parser: hermes"),
    ({"enable_log_outputs": True}, Reason.ARGUMENT_RISKY, "log then contains"),
]


@pytest.mark.parametrize(("given", "reason", "words"), REFUSED)
def test_a_wrong_argument_is_named_with_what_to_write(given: dict[str, Any], reason: Reason, words: str) -> None:
    [found] = openai_arguments.check(given, {})
    assert (found.reason, found.rejects) == (reason, reason != Reason.ARGUMENT_RISKY)
    assert words in found.message


OF_THE_ENGINE: list[tuple[str, Any, str]] = [
    ("reasoning_parser", "qwen3", "Set spec.engine.extraArgs.reasoning_parser: qwen3."),
    ("--reasoning-parser", "qwen3", "Set spec.engine.extraArgs.reasoning_parser: qwen3."),
    ("max_model_len", 4096, "Set spec.engine.maxModelLen: 4096."),
    ("maxModelLen", 4096, "Set spec.engine.maxModelLen: 4096."),
    ("max_model_len", "many", "Remove it: the engine does not accept it either."),
    ("disable_log_requests", True, "Remove it: the engine does not accept it either."),
    ("trust_remote_code", True, "Remove it: the engine does not accept it either."),
]


@pytest.mark.parametrize(("name", "value", "words"), OF_THE_ENGINE)
def test_an_argument_of_the_engine_is_sent_to_its_place(name: str, value: Any, words: str) -> None:
    [found] = openai_arguments.check({name: value}, {}, lambda key, given: arguments.advice(key, given, "0.32.0"))
    assert found.reason is Reason.ARGUMENT_OF_ENGINE
    assert words in found.message


@pytest.mark.parametrize("name", sorted(argument_table.load("0.32.0").arguments))
def test_advice_about_an_argument_in_the_wrong_place_is_accepted_there(name: str) -> None:
    if name in openai_arguments.table().arguments:
        return
    value = argument_table.load("0.32.0").arguments[name].default
    told = arguments.advice(name, value, "0.32.0")
    assert told is not None
    if told.startswith("Set spec.engine.extraArgs."):
        assert not [one for one in arguments.check({name: value}, "0.32.0") if one.rejects]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("llama3", "extraArgs.tool_call_parser: llama3_json ("),
        ("gpt-oss", "to one of the valid values (valid values: apertus"),
    ],
)
def test_a_value_is_near_or_the_list_is_shown(value: str, words: str) -> None:
    [found] = openai_arguments.check({"tool_call_parser": value}, {})
    assert words in found.message


def test_right_arguments_pass() -> None:
    given = {
        "enable_auto_tool_choice": True,
        "tool_call_parser": "hermes",
        "default_chat_template_kwargs": {"enable_thinking": False},
        "allowed_origins": ["https://a"],
        "sse_keep_alive_interval": 15,
    }
    assert openai_arguments.check(given, {}) == []


def test_logged_answers_need_logged_requests() -> None:
    given = {"enable_log_outputs": True, "response_role": "bot"}
    assert [one.reason for one in openai_arguments.check(given, {"enable_log_requests": True})] == [
        Reason.ARGUMENT_RISKY
    ]


def test_every_argument_that_is_not_free_says_why() -> None:
    entries = openai_arguments.table().arguments
    assert not [name for name, entry in entries.items() if entry.use != "allowed" and not entry.why]
