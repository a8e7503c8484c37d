"""`kubectl llm`: the commands. Also `python -m triton_vllm_operator`."""

import typer

from triton_vllm_operator.cli.explain.command import explain
from triton_vllm_operator.cli.import_.command import import_
from triton_vllm_operator.cli.plan.command import plan
from triton_vllm_operator.cli.render.command import render
from triton_vllm_operator.cli.rollout.command import rollout
from triton_vllm_operator.cli.shape.command import shape

app = typer.Typer(
    name="kubectl-llm",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Plan, render, import, explain and roll out LLMDeployments.",
)
app.command("plan")(plan)
app.command("render")(render)
app.command("explain")(explain)
app.command("import")(import_)
app.command("shape")(shape)
app.add_typer(rollout, name="rollout")


def main() -> None:
    """The command `kubectl-llm`."""
    app()
