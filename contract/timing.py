"""How long things take, and the order in which they must end. Seconds.

A frozen engine is found by the image and taken out of the Service by the readiness probe; if it stays frozen the image
ends itself, before the liveness probe would kill the container without a cause. A stopping pod is first removed from
the endpoints, then finishes its requests, then stops the engine, all before the kubelet kills it.
"""

from typing import Final

STALL_SECONDS: Final = 7
"""A request waits and the engine has answered nothing for so long: not ready. Longer than any one step of an engine."""
GIVE_UP_SECONDS: Final = 40
"""... and for so long: the image ends itself, with the cause as termination message."""
FAREWELL_SECONDS: Final = 1
"""How long it waits before that, so that waiting clients receive their answers."""
TICK_SECONDS: Final = 0.5
"""How often the image checks its engine."""
UNREADY_WITHIN_SECONDS: Final = 15
"""The promise: a frozen or dead engine is out of the Service after at most so long."""

READINESS_PERIOD_SECONDS: Final = 2
READINESS_TIMEOUT_SECONDS: Final = 2
READINESS_FAILURES: Final = 2
LIVENESS_PERIOD_SECONDS: Final = 10
LIVENESS_FAILURES: Final = 6
"""Probes of the operator's image."""

DEFAULT_DRAIN_SECONDS: Final = 30
"""tritonserver's default of `--exit-timeout-secs`: how long a stopping server finishes its requests."""
CLOSE_SECONDS: Final = 10
"""How much longer the image lets tritonserver take: to answer cancelled requests and to stop the engine."""
ENDPOINT_REMOVAL_SECONDS: Final = 5
"""Endpoint controllers need so long to remove a stopping pod from every node's rules."""
STOP_MARGIN_SECONDS: Final = 15
"""From the end of the drain to SIGKILL."""
