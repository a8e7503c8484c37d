"""``import``: LLMDeployments for an existing Triton model repository. No cluster, no network."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from triton_vllm_operator.catalog import releases
from triton_vllm_operator.catalog.violations import Violation
from triton_vllm_operator.cli import deployments, render, repositories
from triton_vllm_operator.cli.errors import InputProblem
from triton_vllm_operator.cli.imported import Imported, Note, Target, imported, is_vllm

_COLOURS = {"kept": "green", "changed": "yellow", "dropped": "red"}


def read(
    path: Path, model: str | None, name: str | None, uri: str | None, server: Mapping[str, str | None]
) -> list[Imported]:
    """Translate the vLLM models at `path`. Errors: InputProblem.

    Args:
        model: only this one.
        name, uri: of the only model.
        server: image and release, None for the operator's own choice.
    """
    found = [one for one in repositories.read(path) if model in (None, one.name)]
    mine = [one for one in found if is_vllm(one)]
    if not mine:
        which = f"model {model}" if model else "model of the vLLM backend"
        told = ", ".join(
            f"{one.name}: {one.config.backend or one.config.platform or 'no backend'}" for one in found[:10]
        )
        raise InputProblem(f"{path} has no {which}{f' ({told})' if told else ''}")
    if len(mine) > 1 and (name or uri):
        raise InputProblem(f"--name and --uri are of one model: choose it with --model {mine[0].name}")
    resolved = releases.resolve(server["image"], server["release"])
    if isinstance(resolved, Violation):
        raise InputProblem(f"{resolved.reason}: {resolved.message}")
    given = {key: value for key, value in server.items() if value is not None}
    target = Target(name, uri, given, resolved.arguments_version)
    others = tuple(_skipped(one) for one in found if one not in mine)
    first, *rest = (imported(one, target) for one in mine)
    return [Imported(first.obj, (*others, *first.notes)), *rest]


def _skipped(model: repositories.TritonModel) -> Note:
    what = model.config.backend or model.config.platform or "another backend"
    return Note(model.name, "directory", "dropped", f"a model of {what}: the operator serves vLLM models")


def refusal(obj: Mapping[str, Any], today: date) -> str:
    """Why the operator would refuse it as it stands; "" where it would not."""
    try:
        deployments.understood(obj, "default", None, today)
    except InputProblem as refused:
        return f"{obj['metadata']['name']}: {refused}"
    return ""


def show(found: Sequence[Imported], output: str) -> None:
    """Print the LLMDeployments; for people, after what became of each field."""
    objects = [one.obj for one in found]
    if output == "table":
        console = Console(file=sys.stdout, highlight=False)
        for one in found:
            console.print(_table(one))
        typer.echo(render.text(objects), nl=False)
        return
    for one in found:
        for note in one.notes:
            typer.echo(f"{one.obj['metadata']['name']}: {_where(note)}: {note.outcome}: {note.text}", err=True)
    if output == "yaml":
        typer.echo(render.text(objects), nl=False)
    else:
        many = {"apiVersion": "v1", "kind": "List", "items": objects}
        typer.echo(json.dumps(objects[0] if len(objects) == 1 else many, indent=2, ensure_ascii=False))


def _table(one: Imported) -> Table:
    table = Table(title=f"{one.obj['metadata']['name']}: what became of each field", title_justify="left", box=None)
    for column in ("field", "", "what became of it"):
        table.add_column(column, overflow="fold")
    for note in one.notes:
        table.add_row(Text(_where(note)), Text(note.outcome, style=_COLOURS[note.outcome]), Text(note.text))
    return table


def _where(note: Note) -> str:
    return ": ".join(part for part in (note.file, note.field) if part)
