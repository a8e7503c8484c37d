"""The command `triton-vllm-operator`."""

from __future__ import annotations

import asyncio
import sys
from functools import partial

from triton_vllm_operator.controller import logs
from triton_vllm_operator.controller.cluster import ClusterView
from triton_vllm_operator.controller.manager import MakeReview, Reconcile, run
from triton_vllm_operator.controller.probe import PodProbe
from triton_vllm_operator.controller.reconcile import Reconciler
from triton_vllm_operator.controller.settings import Settings
from triton_vllm_operator.controller.steps.validate import allows_vulnerable_images
from triton_vllm_operator.webhook.review import Review, Reviewer


def review_with(reconciler: Reconciler, cluster: ClusterView) -> Review:
    """The webhook's review, which decides by the same functions and settings as the reconciler."""
    reviewer = Reviewer(
        serving_image=reconciler.settings.serving_image,
        today=reconciler.today,
        opted_out=partial(allows_vulnerable_images, cluster),
        predict=partial(reconciler.planner.predict, cluster),
        held=partial(reconciler.rollouts.warning, cluster),
        scaled=partial(reconciler.autoscaler.warnings, cluster),
    )
    return reviewer.review


def start(reconcile: Reconcile, settings: Settings, make_review: MakeReview | None = None) -> None:
    """Set up the log and run until the process is terminated. `make_review`: None serves no webhook."""
    logs.set_up(settings.log_format, settings.log_level)
    asyncio.run(run(reconcile, settings, make_review))


def main() -> None:
    """The entry point of the console script."""
    settings = Settings.from_arguments(sys.argv[1:])
    reconciler = Reconciler.make(PodProbe(), settings.pods, takeover_s=settings.takeover_s)
    start(reconciler.reconcile, settings, partial(review_with, reconciler))


if __name__ == "__main__":
    main()
