"""The command `plan`."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console

from triton_vllm_operator.capacity import ShapeError
from triton_vllm_operator.cli.common.errors import DOES_NOT_FIT, FITS, TIGHT, InputError
from triton_vllm_operator.cli.common.options import (
    HubModel,
    Kubeconfig,
    KubeContext,
    ModelDir,
    Output,
    ServingImage,
    ShapeFile,
    failure,
)
from triton_vllm_operator.cli.common.shape_options import ShapeOptions
from triton_vllm_operator.cli.plan import planning, table
from triton_vllm_operator.cli.plan.options import PlanOptions

_EXIT = {"Fits": FITS, "Tight": TIGHT, "DoesNotFit": DOES_NOT_FIT}


def plan(
    shape: ShapeFile = None,
    model_dir: ModelDir = None,
    model: HubModel = None,
    gpu: Annotated[str | None, typer.Option(help="GPU product, such as NVIDIA-H100-80GB-HBM3.")] = None,
    gpu_memory_gib: Annotated[
        float | None,
        typer.Option(help="GPU memory in GiB, as CUDA reports it, for a product that is not in the table."),
    ] = None,
    compute_capability: Annotated[
        str | None, typer.Option(help="Compute capability, such as 9.0 (default: of the product, else 8.0).")
    ] = None,
    gpus: Annotated[
        int | None,
        typer.Option(help="GPUs per replica: the tensorParallelSize if not set; the maximum with --choose or -f."),
    ] = None,
    release: Annotated[str | None, typer.Option(help="Release of the serving image, such as 26.06.")] = None,
    engine_version: Annotated[str | None, typer.Option(help="vLLM version, such as 0.32.0.")] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Set a field of spec.engine or spec.resources: engine.maxModelLen=8192. Can be repeated."
        ),
    ] = None,
    choose: Annotated[bool, typer.Option("--choose", help="Choose unset values, as the operator does.")] = False,
    filename: Annotated[
        Path | None, typer.Option("--filename", "-f", help="File with an LLMDeployment: plan it as the operator does.")
    ] = None,
    serving_image: ServingImage = None,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Plan for the nodes of the current cluster, as the operator does.")
    ] = False,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
    output: Annotated[
        Output, typer.Option("--output", "-o", help="Output format. json and yaml print the content of status.plan.")
    ] = Output.TABLE,
) -> None:
    """Report whether a model fits a GPU, what uses its memory, and which changes would make it fit.

    With --choose, --cluster or -f, plan as the operator does; otherwise, plan the engine with its own defaults.
    Only --model, a file whose model is on the Hugging Face Hub, and --cluster need a network.
    Exit codes: 0 Fits, 2 invalid input, 3 Tight, 4 DoesNotFit, 5 not planned.
    """
    options = PlanOptions(gpu, gpu_memory_gib, compute_capability, gpus, release, engine_version, changes or ())
    given = ShapeOptions(shape, model_dir, model)
    try:
        nodes_of = planning.cluster_context(kubeconfig, context, cluster=cluster)
        if serving_image is not None and filename is None:
            raise InputError("--serving-image requires -f FILE; without a file use --release or --engine-version")
        if choose or cluster or filename is not None:
            today = datetime.now(UTC).date()
            result = planning.plan_as_operator(given, options, filename, serving_image, nodes_of, today)
        else:
            result = planning.plan_engine(given, options)
    except (InputError, ShapeError) as error:
        raise failure(error) from None
    _print(result, output)
    raise typer.Exit(_EXIT[result["verdict"]])


def _print(result: dict[str, Any], output: Output) -> None:
    if output is Output.JSON:
        typer.echo(json.dumps(result, indent=2))
    elif output is Output.YAML:
        typer.echo(yaml.safe_dump(result, sort_keys=False, allow_unicode=True), nl=False)
    else:
        table.show(Console(file=sys.stdout, highlight=False), result)
