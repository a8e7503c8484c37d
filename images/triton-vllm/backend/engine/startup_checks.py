"""Startup checks: requests of the user that must be answered as expected before the model is ready."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from contract.startup_checks import ATTEMPTS, StartupCheck

HANGS_SECONDS = 600.0
"""Maximum duration in seconds of a check that sets none."""
_SHOWN = 120
"""Characters of an answer that a message shows."""


class StartupCheckFailed(Exception):
    """The engine does not answer as expected; the message names the check, what was expected and what came."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the engine generated for a check."""

    text: str
    tokens: int


Generate = Callable[[StartupCheck, str], Awaitable[Answer]]
"""Answers the request of a check; the text is a request id."""


async def run(generate: Generate, checks: Mapping[str, StartupCheck]) -> dict[str, Any]:
    """Run the checks one after another; return name -> {seconds, tokens} for the report.

    Raises:
        StartupCheckFailed: of the first check that fails.
    """
    return {name: await _run_one(generate, name, check) for name, check in checks.items()}


async def _run_one(generate: Generate, name: str, check: StartupCheck) -> dict[str, Any]:
    slow, limit = "", check.max_seconds or HANGS_SECONDS
    for attempt in range(ATTEMPTS):
        begun = time.monotonic()
        try:
            async with asyncio.timeout(limit):
                answer = await generate(check, f"startup-check-{name}-{attempt}")
        except TimeoutError:
            slow = f"took longer than {limit:g} seconds"
            continue
        seconds = time.monotonic() - begun
        if check.pattern is not None and not re.search(check.pattern, answer.text):
            shown = _beginning(" ".join(answer.text.split()))
            raise StartupCheckFailed(f"startup check {name}: the answer '{shown}' does not match '{check.pattern}'")
        rate = answer.tokens / max(seconds, 1e-9)
        if check.min_tokens_per_second is None or rate >= check.min_tokens_per_second:
            return {"seconds": round(seconds, 3), "tokens": answer.tokens}
        slow = f"came with {rate:.1f} tokens per second, fewer than {check.min_tokens_per_second:g}"
    raise StartupCheckFailed(f"startup check {name}: the answer {slow}, also at attempt {ATTEMPTS}")


def _beginning(text: str) -> str:
    """The beginning of a text, for a message."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
