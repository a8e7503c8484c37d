"""The command `import`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from triton_vllm_operator.api.model_source import FORMS
from triton_vllm_operator.cli.common.errors import REJECTED, InputError
from triton_vllm_operator.cli.common.options import Output, failure
from triton_vllm_operator.cli.import_ import importer


def import_(
    path: Annotated[Path, typer.Argument(help="A model repository, the directory of one model, or a config.pbtxt.")],
    model: Annotated[str | None, typer.Option(help="Only this model of the repository.")] = None,
    name: Annotated[str | None, typer.Option(help="metadata.name (default: derived from the model's name).")] = None,
    uri: Annotated[str | None, typer.Option(help=f"spec.model.uri, if model.json has a path: {FORMS}.")] = None,
    release: Annotated[str | None, typer.Option(help="spec.server.release (default: NVIDIA's newest).")] = None,
    image: Annotated[str | None, typer.Option(help="spec.server.image.")] = None,
    output: Annotated[
        Output,
        typer.Option(
            "--output", "-o", help="Output format. json and yaml print only the LLMDeployments; the notes go to stderr."
        ),
    ] = Output.TABLE,
) -> None:
    """Print LLMDeployments for an existing Triton model repository, with a note on each field. No cluster.

    Exit codes: 0 imported, 2 invalid input, 3 the operator would reject an LLMDeployment.
    """
    try:
        found = importer.read(path, model, name, uri, {"image": image, "release": release})
    except InputError as error:
        raise failure(error) from None
    importer.show(found, output.value)
    today = datetime.now(UTC).date()
    rejections = [text for one in found if (text := importer.rejection(one.obj, today))]
    for text in rejections:
        typer.echo(f"the operator would reject it: {text}", err=True)
    raise typer.Exit(REJECTED if rejections else 0)
