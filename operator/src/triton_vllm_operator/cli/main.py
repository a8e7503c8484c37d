"""``kubectl llm``: the commands. Also ``python -m triton_vllm_operator``."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console

from triton_vllm_operator.api.model_source import FORMS
from triton_vllm_operator.capacity import ShapeError
from triton_vllm_operator.cli import deployments, import_, planning, render, request, shape_options, tables
from triton_vllm_operator.cli.errors import BAD_INPUT, DOES_NOT_FIT, FITS, NOT_READY, REFUSED, TIGHT, InputProblem

app = typer.Typer(
    name="kubectl-llm",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="LLMs on Triton and vLLM: know before GPUs are held.",
)
_EXIT = {"Fits": FITS, "Tight": TIGHT, "DoesNotFit": DOES_NOT_FIT}


class Output(StrEnum):
    """Forms of the answer."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


ShapeFile = Annotated[Path | None, typer.Option("--shape", help="A file with the model's shape, as `shape` prints it.")]
ModelDir = Annotated[
    Path | None, typer.Option(help="A directory with config.json and, for exact weights, the safetensors files.")
]
HubModel = Annotated[
    str | None,
    typer.Option("--model", help="ORG/REPO[@REVISION] of the hub: its config.json and headers are read, no weights."),
]
ServingImage = Annotated[
    str | None, typer.Option(help="The chart's serving.image, for those that name none (NVIDIA's newest).")
]
Kubeconfig = Annotated[str | None, typer.Option(help="Path of a kubeconfig.")]
KubeContext = Annotated[str | None, typer.Option("--context", help="Context of the kubeconfig.")]


@app.callback()
def commands() -> None:
    """LLMs on Triton and vLLM: know before GPUs are held."""


@app.command()
def plan(
    shape: ShapeFile = None,
    model_dir: ModelDir = None,
    model: HubModel = None,
    gpu: Annotated[str | None, typer.Option(help="GPU product, such as NVIDIA-H100-80GB-HBM3.")] = None,
    gpu_memory_gib: Annotated[
        float | None, typer.Option(help="Memory of a GPU that the table does not name, as CUDA reports it.")
    ] = None,
    compute_capability: Annotated[str | None, typer.Option(help="Its compute capability, such as 9.0 (8.0).")] = None,
    gpus: Annotated[
        int | None,
        typer.Option(help="GPUs of a replica: tensorParallelSize, when not set; with --choose or -f at most so many."),
    ] = None,
    release: Annotated[str | None, typer.Option(help="Release of the serving image, such as 26.06.")] = None,
    engine_version: Annotated[str | None, typer.Option(help="vLLM version, such as 0.32.0.")] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="A field of spec.engine: engine.maxModelLen=8192. May be repeated."),
    ] = None,
    choose: Annotated[bool, typer.Option("--choose", help="Choose what is left open, as the operator does.")] = False,
    filename: Annotated[
        Path | None, typer.Option("--filename", "-f", help="An LLMDeployment: what the operator would say of it.")
    ] = None,
    serving_image: ServingImage = None,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="On the nodes of the current cluster, as the operator chooses.")
    ] = False,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
    output: Annotated[Output, typer.Option("--output", "-o", help="json and yaml print what status.plan holds.")] = (
        Output.TABLE
    ),
) -> None:
    """Say whether a model fits a GPU, what fills its memory and what would fit.

    With --choose, --cluster or -f it says what the operator would choose and plan; else what the engine does by itself.
    Only --model, a file whose model is on the Hugging Face Hub, and --cluster need a network. Exit codes: 0 Fits, 2 bad
    input, 3 Tight, 4 DoesNotFit.
    """
    options = request.Options(gpu, gpu_memory_gib, compute_capability, gpus, release, engine_version, changes or ())
    given = shape_options.ShapeOptions(shape, model_dir, model)
    try:
        where = planning.where(kubeconfig, context, cluster=cluster)
        if serving_image is not None and filename is None:
            raise InputProblem("--serving-image goes with -f FILE; without one give --release or --engine-version")
        if choose or cluster or filename is not None:
            today = datetime.now(UTC).date()
            answer = planning.as_operator(given, options, filename, serving_image, where, today)
        else:
            answer = planning.engine_alone(given, options)
    except (InputProblem, ShapeError) as error:
        raise _refused(error) from None
    _print(answer, output)
    raise typer.Exit(_EXIT[answer["verdict"]])


@app.command("render")
def render_command(
    filename: Annotated[
        Path, typer.Option("--filename", "-f", help="A file with LLMDeployments; - is standard input.")
    ],
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Of those that name none.")] = "default",
    serving_image: ServingImage = None,
    operator_image: Annotated[
        str | None, typer.Option(help="The operator's own image: prints the pod that reads the model too.")
    ] = None,
    shape: ShapeFile = None,
    model_dir: ModelDir = None,
    model: HubModel = None,
    gpu: Annotated[
        str | None, typer.Option(help="GPU product of the nodes, to choose what the spec leaves open.")
    ] = None,
    gpus: Annotated[int, typer.Option(min=1, max=request.MAX_GPUS, help="GPUs of a node.")] = planning.GPUS_OF_A_NODE,
) -> None:
    """Print every object that the operator would apply. No cluster; only --model needs a network.

    What the spec leaves open is chosen as in the cluster when the model (--shape, --model-dir, --model) and --gpu are
    given.
    The API server checks more than this command: the rules between fields are in the CRD.
    """
    try:
        cluster, given = None, shape_options.ShapeOptions(shape, model_dir, model)
        if gpu is not None or given.any:
            if gpu is None:
                raise InputProblem("give --gpu PRODUCT with the model")
            cluster = render.Cluster(given.read(), request.gpu_of(request.Options(gpu=gpu, gpus=gpus)))
        operator = render.Operator(namespace, serving_image, operator_image)
        today = datetime.now(UTC).date()
        found = [obj for llm in deployments.read(filename) for obj in render.objects(llm, operator, cluster, today)]
    except (InputProblem, ShapeError) as error:
        raise _refused(error) from None
    typer.echo(render.text(found), nl=False)


@app.command("explain")
def explain_command(
    name: Annotated[str, typer.Argument(help="Name of the LLMDeployment.")],
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="(that of the context)")] = None,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
) -> None:
    """Say why an LLMDeployment is not Ready, in the order in which things must come true.

    Reads the LLMDeployment, its Deployment and pods, and what they wait for. Exit codes: 0 Ready, 2 bad input or no
    access, 3 not Ready.
    """
    from triton_vllm_operator.cli import explain  # the Kubernetes client takes longer to import than all the rest

    try:
        steps = explain.steps(name, namespace, kubeconfig, context)
    except InputProblem as error:
        raise _refused(error) from None
    for step in steps:
        typer.echo(f"{step.mark:>2}  {step.name:<8}  {step.text}")
    raise typer.Exit(0 if steps[-1].name == "Ready" and steps[-1].mark == "ok" else NOT_READY)


@app.command("import")
def import_command(
    path: Annotated[Path, typer.Argument(help="A model repository, the directory of one model, or a config.pbtxt.")],
    model: Annotated[str | None, typer.Option(help="Only this model of the repository.")] = None,
    name: Annotated[str | None, typer.Option(help="metadata.name (made of the model's name).")] = None,
    uri: Annotated[str | None, typer.Option(help=f"spec.model.uri, if model.json names a path: {FORMS}.")] = None,
    release: Annotated[str | None, typer.Option(help="spec.server.release (NVIDIA's newest).")] = None,
    image: Annotated[str | None, typer.Option(help="spec.server.image.")] = None,
    output: Annotated[
        Output,
        typer.Option("--output", "-o", help="json and yaml print only the LLMDeployments; the notes go to stderr."),
    ] = Output.TABLE,
) -> None:
    """Print LLMDeployments for an existing Triton model repository, and what became of each field. No cluster.

    Exit codes: 0 imported, 2 bad input, 3 the operator would refuse an LLMDeployment as it stands.
    """
    try:
        found = import_.read(path, model, name, uri, {"image": image, "release": release})
    except InputProblem as error:
        raise _refused(error) from None
    import_.show(found, output.value)
    today = datetime.now(UTC).date()
    refusals = [told for one in found if (told := import_.refusal(one.obj, today))]
    for told in refusals:
        typer.echo(f"the operator would refuse it: {told}", err=True)
    raise typer.Exit(REFUSED if refusals else 0)


@app.command("shape")
def shape_command(model_dir: ModelDir = None, model: HubModel = None) -> None:
    """Print a model's shape: all that `plan --shape` needs to know of it."""
    try:
        found = shape_options.ShapeOptions(None, model_dir, model).read()
    except (InputProblem, ShapeError) as error:
        raise _refused(error) from None
    typer.echo(json.dumps(found.to_json(), indent=2))


def _refused(error: Exception) -> typer.Exit:
    reason = f"{error.reason}: " if isinstance(error, ShapeError) else ""
    typer.echo(f"error: {reason}{error}", err=True)
    return typer.Exit(error.code if isinstance(error, InputProblem) else BAD_INPUT)


def _print(body: dict[str, Any], output: Output) -> None:
    if output is Output.JSON:
        typer.echo(json.dumps(body, indent=2))
    elif output is Output.YAML:
        typer.echo(yaml.safe_dump(body, sort_keys=False, allow_unicode=True), nl=False)
    else:
        tables.show(Console(file=sys.stdout, highlight=False), body)


def main() -> None:
    """The command ``kubectl-llm``."""
    app()
