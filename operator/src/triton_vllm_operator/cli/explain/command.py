"""The command `explain`."""

from __future__ import annotations

from typing import Annotated

import typer

from triton_vllm_operator.cli.common.errors import NOT_READY, InputError
from triton_vllm_operator.cli.common.options import Kubeconfig, KubeContext, failure


def explain(
    name: Annotated[str, typer.Argument(help="Name of the LLMDeployment.")],
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Namespace (default: that of the context).")
    ] = None,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
) -> None:
    """Report why an LLMDeployment is not Ready, step by step in the order of a start.

    Reads the LLMDeployment, its Deployment and pods, and the objects that they wait for.
    Exit codes: 0 Ready, 2 invalid input or access denied, 3 not Ready.
    """
    from triton_vllm_operator.cli.explain.steps import steps  # importing the Kubernetes client is slow

    try:
        found = steps(name, namespace, kubeconfig, context)
    except InputError as error:
        raise failure(error) from None
    for step in found:
        typer.echo(f"{step.mark:>2}  {step.name:<8}  {step.text}")
    raise typer.Exit(0 if found[-1].name == "Ready" and found[-1].mark == "ok" else NOT_READY)
