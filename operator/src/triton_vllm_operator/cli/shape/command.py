"""The command `shape`."""

from __future__ import annotations

import json

import typer

from triton_vllm_operator.capacity import ShapeError
from triton_vllm_operator.cli.common.errors import InputError
from triton_vllm_operator.cli.common.options import HubModel, ModelDir, failure
from triton_vllm_operator.cli.common.shape_options import ShapeOptions


def shape(model_dir: ModelDir = None, model: HubModel = None) -> None:
    """Print a model's shape: everything about a model that `plan --shape` needs."""
    try:
        found = ShapeOptions(None, model_dir, model).read()
    except (InputError, ShapeError) as error:
        raise failure(error) from None
    typer.echo(json.dumps(found.to_json(), indent=2))
