"""Shutdown: the supervisor closes its side of a pipe when the server receives a signal to stop.

tritonserver first waits for its connections, as long as it may, and only then notifies its backends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

# What --exit-timeout-secs of tritonserver says, which is what a drain may take.
DRAIN_VARIABLE = "TRITON_VLLM_DRAIN_SECONDS"
# The number of the pipe.
END_VARIABLE = "TRITON_VLLM_END_FD"


def on_shutdown(environment: Mapping[str, str], act: Callable[[], None]) -> None:
    """Call `act` in the running loop when the supervisor has received a signal to stop the server."""
    if (number := environment.get(END_VARIABLE)) is None:
        return  # tritonserver runs without a supervisor
    loop, pipe = asyncio.get_running_loop(), int(number)

    def ended() -> None:
        loop.remove_reader(pipe)
        act()

    loop.add_reader(pipe, ended)
