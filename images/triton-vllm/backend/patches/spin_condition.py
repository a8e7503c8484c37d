"""Let idle workers sleep soon after their last message.

Changes: the default of `busy_loop_s` of vLLM's `SpinCondition`, the condition of its shared-memory message queues.

Why: after a message a worker polls for the next one, so that steps of the model follow each other at once. vLLM polls
for a second, which is a second of a core after every request that comes alone.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

from backend.patches.upstream import Target, Upstream

SPIN_SECONDS = 0.05
UPSTREAM = Upstream(
    (
        Target(
            "vllm.distributed.device_communicators.shm_broadcast",
            "SpinCondition.__init__",
            parameters=("busy_loop_s",),
            source=("self.busy_loop_s = busy_loop_s",),
        ),
    )
)


def install(condition: Any) -> None:
    """Have readers poll for `SPIN_SECONDS` after their last message, then wait for a notification.

    `condition`: the class; None, or one without such a parameter, is left as it is.
    """
    if condition is not None and "busy_loop_s" in inspect.signature(condition.__init__).parameters:
        condition.__init__ = functools.partialmethod(condition.__init__, busy_loop_s=SPIN_SECONDS)
