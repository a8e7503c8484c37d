"""Start the engine core before the front end loads the tokenizer.

Changes: `EngineCoreClient.make_async_mp_client`, while one AsyncLLM is constructed.

Why: vLLM loads the tokenizer in the front end before it starts the engine core, which takes a second or two with a
vocabulary of 128,000. Here the tokenizer is loaded while the core starts and loads the model.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

from backend.patches.upstream import Target, Upstream

MAKE_CLIENT = "make_async_mp_client"
CLIENT = "vllm.v1.engine.core_client"
UPSTREAM = Upstream(
    (
        Target(
            CLIENT,
            f"EngineCoreClient.{MAKE_CLIENT}",
            parameters=("vllm_config", "executor_class", "log_stats", "renderer"),
        ),
        Target(CLIENT, "AsyncMPClient._ensure_output_queue_task", parameters=("self",)),
        Target("vllm.renderers.base", "BaseRenderer.start_mm_warmup_in_background", parameters=("self",)),
        Target("vllm.v1.engine.async_llm", "AsyncLLM.__init__", source=(f"EngineCoreClient.{MAKE_CLIENT}",)),
        Target("vllm.v1.executor.abstract", "Executor.get_class", parameters=("vllm_config",)),
    )
)


@contextlib.contextmanager
def installed(config: Any, log_stats: bool, on_renderer: Callable[[Any], None]) -> Iterator[None]:
    """Start the engine core now; the AsyncLLM that is constructed inside the block uses it instead of starting one.

    `config`, `log_stats`: those of the AsyncLLM; `on_renderer` is called as soon as vLLM's renderer, which holds the
    tokenizer, exists. It must not block.
    """
    from vllm.v1.engine.core_client import EngineCoreClient
    from vllm.v1.executor import Executor

    make = getattr(EngineCoreClient, MAKE_CLIENT)
    future: Future[Any] = Future()

    def start() -> None:
        try:
            future.set_result(make(vllm_config=config, executor_class=Executor.get_class(config), log_stats=log_stats))
        except BaseException as error:  # noqa: BLE001 - it is raised where the client is used
            future.set_exception(error)

    def started_client(renderer: Any = None, **_: Any) -> Any:
        if renderer is not None:
            on_renderer(renderer)
        client = future.result()
        # It was created outside the event loop, and does not receive the core's messages until its task runs.
        client._ensure_output_queue_task()
        if hasattr(renderer, "start_mm_warmup_in_background"):
            renderer.start_mm_warmup_in_background()
        return client

    # A daemon: where the AsyncLLM fails, the process does not wait for the core.
    threading.Thread(target=start, name="start-core", daemon=True).start()
    setattr(EngineCoreClient, MAKE_CLIENT, staticmethod(started_client))
    try:
        yield
    finally:
        setattr(EngineCoreClient, MAKE_CLIENT, staticmethod(make))
