"""Import of the models of a Triton model repository, and its output. No cluster, no network."""

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
from triton_vllm_operator.cli.common import deployments, manifests
from triton_vllm_operator.cli.common.errors import InputError
from triton_vllm_operator.cli.import_ import repository
from triton_vllm_operator.cli.import_.translation import Imported, Note, Target, is_vllm, translated

_COLOURS = {"kept": "green", "changed": "yellow", "dropped": "red"}


def read(
    path: Path, model: str | None, name: str | None, uri: str | None, server: Mapping[str, str | None]
) -> list[Imported]:
    """Translate the vLLM models at `path`.

    Args:
        model: only this model.
        name: metadata.name of the only model.
        uri: spec.model.uri of the only model.
        server: image and release; None for the operator's default.

    Raises:
        InputError: no model of the vLLM backend was found, or it cannot be translated.
    """
    found = [one for one in repository.read(path) if model in (None, one.name)]
    selected = [one for one in found if is_vllm(one)]
    if not selected:
        which = f"model {model}" if model else "model of the vLLM backend"
        others = ", ".join(
            f"{one.name}: {one.config.backend or one.config.platform or 'no backend'}" for one in found[:10]
        )
        raise InputError(f"{path} has no {which}{f' ({others})' if others else ''}")
    if len(selected) > 1 and (name or uri):
        raise InputError(f"--name and --uri apply to one model: select it with --model {selected[0].name}")
    resolved = releases.resolve(server["image"], server["release"])
    if isinstance(resolved, Violation):
        raise InputError(f"{resolved.reason}: {resolved.message}")
    given = {key: value for key, value in server.items() if value is not None}
    target = Target(name, uri, given, resolved.arguments_version)
    skipped = tuple(_skipped(one) for one in found if one not in selected)
    first, *rest = (translated(one, target) for one in selected)
    return [Imported(first.obj, (*skipped, *first.notes)), *rest]


def _skipped(model: repository.TritonModel) -> Note:
    what = model.config.backend or model.config.platform or "another backend"
    return Note(model.name, "directory", "dropped", f"a model of {what}: the operator serves vLLM models")


def rejection(obj: Mapping[str, Any], today: date) -> str:
    """The name, and the reason for which the operator would reject the LLMDeployment; "" if it would not."""
    try:
        deployments.validated(obj, "default", None, today)
    except InputError as error:
        return f"{obj['metadata']['name']}: {error}"
    return ""


def show(found: Sequence[Imported], output: str) -> None:
    """Print the LLMDeployments. The table comes with the notes on each field, before them."""
    objects = [one.obj for one in found]
    if output == "table":
        console = Console(file=sys.stdout, highlight=False)
        for one in found:
            console.print(_table(one))
        typer.echo(manifests.to_yaml(objects), nl=False)
        return
    for one in found:
        for note in one.notes:
            typer.echo(f"{one.obj['metadata']['name']}: {_where(note)}: {note.outcome}: {note.text}", err=True)
    if output == "yaml":
        typer.echo(manifests.to_yaml(objects), nl=False)
    else:
        many = {"apiVersion": "v1", "kind": "List", "items": objects}
        typer.echo(json.dumps(objects[0] if len(objects) == 1 else many, indent=2, ensure_ascii=False))


def _table(one: Imported) -> Table:
    table = Table(title=f"{one.obj['metadata']['name']}: outcome for each field", title_justify="left", box=None)
    for column in ("field", "outcome", "note"):
        table.add_column(column, overflow="fold")
    for note in one.notes:
        table.add_row(Text(_where(note)), Text(note.outcome, style=_COLOURS[note.outcome]), Text(note.text))
    return table


def _where(note: Note) -> str:
    return ": ".join(part for part in (note.file, note.field) if part)
