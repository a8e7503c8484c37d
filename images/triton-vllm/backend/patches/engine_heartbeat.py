"""Call a function at every message of the engine core.

Changes: `get_output_async` of an AsyncLLM's engine core client.

Why: each message proves that the engine makes progress, also while it reads a long prompt, so a working engine needs no
health request. vLLM has no hook for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from backend.patches.upstream import Target, Upstream

UPSTREAM = Upstream(
    (
        Target("vllm.v1.engine.core_client", "AsyncMPClient.get_output_async", parameters=("self",)),
        Target("vllm.v1.engine.async_llm", "AsyncLLM", source=("outputs = await engine_core.get_output_async()",)),
    )
)


def install(engine_core: Any, on_message: Callable[[], None]) -> None:
    """Call `on_message` after each message that the client `engine_core` receives: one per step of the engine."""
    receive = engine_core.get_output_async

    async def get_output_async() -> Any:
        outputs = await receive()
        on_message()
        return outputs

    engine_core.get_output_async = get_output_async
