"""The command `triton-vllm-operator`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from triton_vllm_operator.controller.command_line import command_line, start
from triton_vllm_operator.controller.planning import Planning
from triton_vllm_operator.controller.probe import PodProbe
from triton_vllm_operator.controller.reconcile import Probe, Reconciler
from triton_vllm_operator.desired.inputs import Defaults
from triton_vllm_operator.webhook.review import Reviewer


def reconciler(arguments: Sequence[str], probe: Probe) -> Reconciler:
    """The reconciler with the command line's settings of the serving pods. Errors: SystemExit with the usage."""
    given = command_line().parse_args(arguments)
    defaults = Defaults(
        image_pull_policy=given.serving_image_pull_policy,
        env=dict(given.serving_env),
        image_pull_secrets=tuple(given.serving_image_pull_secret),
    )
    planning = Planning(given.operator_image, given.operator_image_pull_policy, defaults)
    return Reconciler(probe, given.serving_image, defaults, planning=planning)


def main() -> None:
    """The entry point of the console script."""
    made = reconciler(sys.argv[1:], PodProbe())
    start(made, sys.argv[1:], Reviewer.like(made))


if __name__ == "__main__":
    main()
