"""Every command has a help text, a row on the page of the command line, and its place in the layers."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from triton_vllm_operator.cli.main import app

ROOT = Path(__file__).parents[3]
GROUPS = {group.name or "": group.typer_instance for group in app.registered_groups}
COMMANDS = sorted([*(command.name or "" for command in app.registered_commands), *GROUPS])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_a_command_has_a_help_text(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"], terminal_width=300)
    assert result.exit_code == 0
    options = re.findall(r"^ +(--[\w-]+[^\n]*)", result.stdout, re.MULTILINE)
    assert options
    assert all(re.search(r"\S {2,}\S", option) for option in options), options


@pytest.mark.parametrize("command", ["status", "history", "undo", "pause", "resume", "proceed"])
def test_every_subcommand_has_a_help_text(command: str) -> None:
    result = CliRunner().invoke(app, ["rollout", command, "--help"], terminal_width=300)
    assert result.exit_code == 0
    assert "--namespace" in result.stdout


def test_every_command_is_on_the_page_of_the_command_line() -> None:
    page = (ROOT / "operator/docs/cli.md").read_text()
    assert sorted(re.findall(r"^\| `([a-z]+)` \|", page, re.MULTILINE)) == COMMANDS


def test_every_command_is_independent_of_the_others() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [modules] = [contract["modules"] for contract in contracts if contract["type"] == "independence"
                 if contract["name"].startswith("A command of the command line")]  # fmt: skip
    assert sorted(module.rsplit(".", 1)[1].rstrip("_") for module in modules) == COMMANDS
