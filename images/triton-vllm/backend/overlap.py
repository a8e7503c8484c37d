"""What of a start can be done while something else of it is waited for.

vLLM loads the tokenizer in the front end before it starts the engine core, and in the engine core after the model; each
takes a second or two with a vocabulary of 128,000. Here both happen while the core loads the model.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

logger = logging.getLogger("triton_vllm")

# The method of vLLM that makes the engine core's client, and starts the core.
MAKE_CLIENT = "make_async_mp_client"


@contextlib.contextmanager
def core_started_early(config: Any, log_stats: bool, meanwhile: Callable[[Any], None]) -> Iterator[None]:
    """Start the engine core now; the AsyncLLM that is made inside the block takes it instead of starting one.

    ``config``, ``log_stats``: those of the AsyncLLM; ``meanwhile(renderer)`` runs in a thread of its own as soon as
    vLLM's renderer, which holds the tokenizer, is there.
    """
    from vllm.v1.engine.core_client import EngineCoreClient
    from vllm.v1.executor import Executor

    make = getattr(EngineCoreClient, MAKE_CLIENT)
    making: Future[Any] = Future()

    def start() -> None:
        try:
            making.set_result(make(vllm_config=config, executor_class=Executor.get_class(config), log_stats=log_stats))
        except BaseException as error:  # noqa: BLE001 - it is raised where the client is taken
            making.set_exception(error)

    def take(renderer: Any = None, **_: Any) -> Any:
        if renderer is not None:
            _in_thread(meanwhile, renderer)
        client = making.result()
        # It was made outside the event loop, and misses what the core says until it reads.
        client._ensure_output_queue_task()
        if hasattr(renderer, "start_mm_warmup_in_background"):
            renderer.start_mm_warmup_in_background()
        return client

    # A daemon: where the AsyncLLM fails, nobody waits for the core.
    threading.Thread(target=start, name="start-core", daemon=True).start()
    setattr(EngineCoreClient, MAKE_CLIENT, staticmethod(take))
    try:
        yield
    finally:
        setattr(EngineCoreClient, MAKE_CLIENT, staticmethod(make))


def resolve_chat_template(renderer: Any) -> None:
    """Have vLLM look for the model's chat template, which its OpenAI server does first of all, and keep it."""
    from vllm.renderers import hf

    hf.resolve_chat_template(renderer.tokenizer, None, None, model_config=renderer.model_config)


def load_tokenizer(config: Any) -> None:
    """Begin to load the tokenizer that this process will ask for."""
    if config.model_config.skip_tokenizer_init:
        return
    from vllm.tokenizers import cached_tokenizer_from_config

    _in_thread(lambda model: cached_tokenizer_from_config(model_config=model), config.model_config)


def _in_thread(work: Callable[[Any], object], argument: Any) -> None:
    """Do what somebody else will do again, and report when it fails; then from what is kept."""

    def run() -> None:
        try:
            work(argument)
        except Exception as error:  # noqa: BLE001 - the one who needs it will raise it
            logger.debug("not done in advance: %s: %s", type(error).__name__, error)

    threading.Thread(target=run, name="in-advance", daemon=True).start()
