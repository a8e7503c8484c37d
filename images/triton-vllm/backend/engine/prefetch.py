"""Load in a background thread what vLLM loads later and keeps: the tokenizer, the chat template."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

logger = logging.getLogger("triton_vllm")


def chat_template(renderer: Any) -> None:
    """Start to resolve the model's chat template, which vLLM's OpenAI server does first of all, and caches."""
    in_background(_resolve_chat_template, renderer)


def _resolve_chat_template(renderer: Any) -> None:
    from vllm.renderers import hf

    hf.resolve_chat_template(renderer.tokenizer, None, None, model_config=renderer.model_config)


def tokenizer(config: Any) -> None:
    """Start to load the tokenizer that this process will need. `config`: vLLM's VllmConfig.

    The engine core loads it after the model, which takes a second or two with a vocabulary of 128,000.
    """
    if config.model_config.skip_tokenizer_init:
        return
    from vllm.tokenizers import cached_tokenizer_from_config

    in_background(lambda model: cached_tokenizer_from_config(model_config=model), config.model_config)


def in_background(work: Callable[[Any], object], argument: Any) -> None:
    """Call `work` in a daemon thread. A failure is only logged: the code that needs the result raises it again."""

    def run() -> None:
        try:
            work(argument)
        except Exception as error:  # noqa: BLE001 - raised again where the result is needed
            logger.debug("prefetch failed: %s: %s", type(error).__name__, error)

    threading.Thread(target=run, name="prefetch", daemon=True).start()
