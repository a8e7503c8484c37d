"""The command `render`."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from triton_vllm_operator.capacity import ShapeError, gpu_by_product
from triton_vllm_operator.cli.common import deployments, manifests
from triton_vllm_operator.cli.common.errors import InputError
from triton_vllm_operator.cli.common.options import HubModel, ModelDir, ServingImage, ShapeFile, failure
from triton_vllm_operator.cli.common.shape_options import ShapeOptions
from triton_vllm_operator.cli.render.objects import ModelAndGPU, objects
from triton_vllm_operator.desired.pod_settings import PodSettings


def render(
    filename: Annotated[Path, typer.Option("--filename", "-f", help="File with LLMDeployments; - is standard input.")],
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Namespace for manifests that do not set one.")
    ] = "default",
    serving_image: ServingImage = None,
    operator_image: Annotated[
        str | None, typer.Option(help="The operator's own image: also print the pod that reads the model.")
    ] = None,
    shape: ShapeFile = None,
    model_dir: ModelDir = None,
    model: HubModel = None,
    gpu: Annotated[str | None, typer.Option(help="GPU product of the nodes, to choose unset values.")] = None,
    gpus: Annotated[
        int, typer.Option(min=1, max=deployments.MAX_GPUS, help="GPUs per node.")
    ] = deployments.GPUS_PER_NODE,
) -> None:
    """Print every object that the operator would apply. No cluster; only --model needs a network.

    Unset values are chosen as in the cluster if the model (--shape, --model-dir, --model) and --gpu are given.
    The API server checks more than this command: the rules between fields are in the CRD.
    """
    try:
        cluster, given = None, ShapeOptions(shape, model_dir, model)
        if gpu is not None or given.any:
            if gpu is None:
                raise InputError("give --gpu PRODUCT with the model")
            cluster = ModelAndGPU(given.read(), replace(gpu_by_product(gpu), per_node=gpus))
        settings = PodSettings(serving_image=serving_image, operator_image=operator_image)
        today = datetime.now(UTC).date()
        found = [obj for llm in deployments.read(filename) for obj in objects(llm, namespace, settings, cluster, today)]
    except (InputError, ShapeError) as error:
        raise failure(error) from None
    typer.echo(manifests.to_yaml(found), nl=False)
