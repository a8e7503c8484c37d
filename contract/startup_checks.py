"""Startup checks: the entries of `startup_checks.json`, name to values, with their defaults."""

from dataclasses import dataclass, fields
from typing import Final

MAX_TOKENS: Final = 16
ATTEMPTS: Final = 3
"""A check that is too slow is repeated; the fastest attempt counts."""


@dataclass(frozen=True, slots=True)
class StartupCheck:
    """A request that must be answered as expected before the model is ready. It is answered greedily.

    Attributes:
        prompt: text, without a chat template.
        max_tokens: of the answer.
        pattern: regular expression of Python that a part of the answer matches; None: any answer.
        max_seconds: duration of the request; None: no limit.
        min_tokens_per_second: tokens of the answer per second of the request; None: no limit.
    """

    prompt: str
    max_tokens: int = MAX_TOKENS
    pattern: str | None = None
    max_seconds: float | None = None
    min_tokens_per_second: float | None = None


KEYS: Final = tuple(field.name for field in fields(StartupCheck))
"""Keys of an entry of `startup_checks.json`."""
