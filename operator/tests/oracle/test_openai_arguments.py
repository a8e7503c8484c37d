"""The table of the OpenAI server's arguments against the server in the operator's own image."""

from __future__ import annotations

import json
import runpy
import subprocess

from triton_vllm_operator.catalog import openai_arguments

from .conftest import ENVIRONMENT

# vLLM's own command line has them all, with their kinds and choices.
TELL = """
import dataclasses, json, typing, vllm
from vllm.entrypoints.launchers.cli_args import FrontendArgs
from vllm.tool_parsers import ToolParserManager
words = {bool: "bool", int: "int", float: "float", str: "str"}
def kinds(hint):
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return ["str"], list(parts)
    if origin is list:
        return ["list"], []
    if origin is dict:
        return ["object"], []
    if parts:
        return kinds(next(part for part in parts if part is not type(None)))
    return [words[hint]], []
hints = typing.get_type_hints(FrontendArgs)
arguments = {field.name: kinds(hints[field.name]) for field in dataclasses.fields(FrontendArgs)}
arguments["tool_call_parser"] = ["str"], sorted(ToolParserManager.list_registered())
print(json.dumps({"version": vllm.__version__.split("+")[0], "arguments": arguments}))
"""
# Arguments that are refused: their choices need not be known.
REFUSED = {"anthropic_disabled_thinking_effort", "uvicorn_log_level"}


def test_the_table_holds_what_the_server_takes() -> None:
    python = str(runpy.run_path(str(ENVIRONMENT))["ensure"]("cpu"))
    done = subprocess.run([python, "-c", TELL], check=True, capture_output=True, text=True, timeout=280)
    told = json.loads(done.stdout.splitlines()[-1])
    table = openai_arguments.table()
    assert told["version"] == table.version
    assert set(told["arguments"]) == set(table.arguments)
    for name, (types, choices) in told["arguments"].items():
        entry = table.arguments[name]
        assert list(entry.types) == types, name
        assert name in REFUSED or sorted(entry.choices) == sorted(choices), name
