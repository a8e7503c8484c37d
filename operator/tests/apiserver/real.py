"""The operator with its real reconcile; only the probe is false: every pod answers with a token at once.

`python -m tests.apiserver.real --kubeconfig ...` takes the options of the real command.
"""

from __future__ import annotations

import sys

from triton_vllm_operator.runtime.command import start
from triton_vllm_operator.runtime.main import reconciler
from triton_vllm_operator.runtime.review import Reviewer


class FakeProbe:
    """There is no kubelet here, so no pod could answer."""

    async def ask(self, ip: str, model: str) -> str:
        return ""


if __name__ == "__main__":
    made = reconciler(sys.argv[1:])
    made.probe = FakeProbe()
    start(made, sys.argv[1:], Reviewer.like(made))
