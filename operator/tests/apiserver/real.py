"""The operator with its real reconcile; only the probe is false: every pod answers with a token at once.

`python -m tests.apiserver.real --kubeconfig ...` takes the options of the real command.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.controller.main import review_with, start
from triton_vllm_operator.controller.probe import NoReport, PodProbe, Unreachable
from triton_vllm_operator.controller.reconcile import Reconciler
from triton_vllm_operator.controller.settings import Settings
from triton_vllm_operator.controller.steps.autoscale import INTERVAL_S

AUTOSCALING_SECONDS = "AUTOSCALING_SECONDS"
"""Variable with the seconds between two readings of a pod's metrics."""


class FakeProbe(PodProbe):
    """There is no kubelet here, so no pod could answer. A test may serve a report on an address of this machine."""

    async def ask(self, ip: str, model: str) -> str:
        return ""

    async def report(self, ip: str) -> bytes:
        if not ip.startswith("127."):
            raise NoReport(Reason.REPORT_NOT_SERVED, "its image has none", final=True)
        return await super().report(ip)

    async def metrics(self, ip: str) -> bytes:
        if not ip.startswith("127."):
            raise Unreachable("no response")
        return await super().metrics(ip)


def main(arguments: Sequence[str]) -> None:
    """Run until terminated."""
    given = Settings.from_arguments(arguments)
    seconds = float(os.environ.get(AUTOSCALING_SECONDS, INTERVAL_S))
    made = Reconciler.make(FakeProbe(), given.pods, takeover_s=given.takeover_s, autoscaling_s=seconds)
    start(made.reconcile, given, partial(review_with, made))


if __name__ == "__main__":
    main(sys.argv[1:])
