"""Options that several commands have, and the exit of a command that failed."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from triton_vllm_operator.capacity import ShapeError
from triton_vllm_operator.cli.common.errors import BAD_INPUT, NOT_PLANNED, InputError


class Output(StrEnum):
    """Output formats."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


ShapeFile = Annotated[Path | None, typer.Option("--shape", help="File with the model's shape, as printed by `shape`.")]
ModelDir = Annotated[
    Path | None, typer.Option(help="Directory with config.json and, for exact weights, the safetensors files.")
]
HubModel = Annotated[
    str | None,
    typer.Option(
        "--model", help="Model of the hub, ORG/REPO[@REVISION]: reads config.json and file headers, not the weights."
    ),
]
ServingImage = Annotated[
    str | None,
    typer.Option(help="Default serving image (the chart's serving.image); NVIDIA's newest release if not set."),
]
Kubeconfig = Annotated[str | None, typer.Option(help="Path to the kubeconfig file.")]
KubeContext = Annotated[str | None, typer.Option("--context", help="Context of the kubeconfig.")]


def failure(error: InputError | ShapeError) -> typer.Exit:
    """Print an error to standard error and return the exit with its code."""
    reason = f"{error.reason}: " if isinstance(error, ShapeError) else ""
    typer.echo(f"error: {reason}{error}", err=True)
    if isinstance(error, InputError):
        return typer.Exit(error.code)
    return typer.Exit(NOT_PLANNED if error.unplanned else BAD_INPUT)
