"""Spellings of an engine argument: `max_model_len`, `--max-model-len`, `maxModelLen`, `--no-enforce-eager`."""

import re
from difflib import get_close_matches
from typing import Any

from pydantic.alias_generators import to_snake

# A beginning of fewer letters says too little.
_MIN_PREFIX = 4
_CAMEL = re.compile(r"^[a-z]+(?:[A-Z][a-z0-9]*)+$")


def canonical(name: str, value: Any, known: frozenset[str]) -> tuple[str, Any]:
    """The name as in vLLM's Python API, and the value that goes with it.

    `--no-` before a known argument negates the value. A name that is already known is returned as it is.
    """
    if name in known:
        return name, value
    plain = name.removeprefix("--").replace("-", "_")
    if plain.startswith("no_") and plain.removeprefix("no_") in known:
        return plain.removeprefix("no_"), value is False
    if plain not in known and _CAMEL.match(plain):
        return to_snake(plain), value
    return plain, value


def nearest(name: str, known: frozenset[str]) -> str | None:
    """The known name that is most similar to `name`, or the only one that begins with it; None when there is none."""
    close = get_close_matches(name, sorted(known), n=1, cutoff=0.75)
    if close:
        return close[0]
    longer = [each for each in known if len(name) >= _MIN_PREFIX and each.startswith(name)]
    return longer[0] if len(longer) == 1 else None
