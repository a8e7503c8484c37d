"""The command `rollout` and its subcommands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from triton_vllm_operator.cli.common.errors import InputError
from triton_vllm_operator.cli.common.options import Kubeconfig, KubeContext, failure

if TYPE_CHECKING:
    from triton_vllm_operator.api.kinds import Object
    from triton_vllm_operator.kube.client import Client

rollout = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Show, continue, pause or undo the rollout of an LLMDeployment.",
)
_Name = Annotated[str, typer.Argument(help="Name of the LLMDeployment.")]
_Namespace = Annotated[str | None, typer.Option("--namespace", "-n", help="Namespace (default: that of the context).")]


def status(
    name: _Name, namespace: _Namespace = None, kubeconfig: Kubeconfig = None, context: KubeContext = None
) -> None:
    """Print what happens next and why, how far it is, and the gap to expect."""
    from triton_vllm_operator.cli.rollout import actions  # importing the Kubernetes client is slow

    _run(actions.status, name, namespace, kubeconfig, context)


def history(
    name: _Name, namespace: _Namespace = None, kubeconfig: Kubeconfig = None, context: KubeContext = None
) -> None:
    """Print the revisions, what changed in each, and why one has failed."""
    from triton_vllm_operator.cli.rollout import actions

    _run(actions.history, name, namespace, kubeconfig, context)


def undo(
    name: _Name,
    to: Annotated[int | None, typer.Option(min=1, help="Number of the revision (default: the one before).")] = None,
    namespace: _Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
) -> None:
    """Write the spec of a former revision back, without its replicas, autoscaling and rollout."""
    from triton_vllm_operator.cli.rollout import actions

    _run(actions.undo(to), name, namespace, kubeconfig, context)


def pause(
    name: _Name, namespace: _Namespace = None, kubeconfig: Kubeconfig = None, context: KubeContext = None
) -> None:
    """Replace no further pods: set spec.rollout.paused."""
    from triton_vllm_operator.cli.rollout import actions

    _run(actions.paused(True), name, namespace, kubeconfig, context)


def resume(
    name: _Name, namespace: _Namespace = None, kubeconfig: Kubeconfig = None, context: KubeContext = None
) -> None:
    """Go on replacing pods: set spec.rollout.paused to false."""
    from triton_vllm_operator.cli.rollout import actions

    _run(actions.paused(False), name, namespace, kubeconfig, context)


def proceed(
    name: _Name, namespace: _Namespace = None, kubeconfig: Kubeconfig = None, context: KubeContext = None
) -> None:
    """Accept the gap of a rollout that waits for a GPU, or try a revision again that has failed."""
    from triton_vllm_operator.cli.rollout import actions

    _run(actions.proceed, name, namespace, kubeconfig, context)


for _command in (status, history, undo, pause, resume, proceed):
    rollout.command()(_command)


def _run(
    action: Callable[[Client, Object], Awaitable[str]],
    name: str,
    namespace: str | None,
    kubeconfig: str | None,
    context: str | None,
) -> None:
    from triton_vllm_operator.cli.rollout.actions import Target

    try:
        typer.echo(Target(name, namespace, kubeconfig, context).run(action))
    except InputError as error:
        raise failure(error) from None
