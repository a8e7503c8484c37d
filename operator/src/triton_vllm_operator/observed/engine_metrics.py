"""What a pod's metrics port says of its load."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

RUNNING = b"vllm:num_requests_running"
WAITING = b"vllm:num_requests_waiting"
KV_CACHE = b"vllm:kv_cache_usage_perc"
GENERATED = b"vllm:generation_tokens_total"
_NAMES = (RUNNING, WAITING, KV_CACHE, GENERATED)
_REST = re.compile(rb"(?:\{[^\n]*\})? (\S+)")
_MIN_S = 0.5
"""Below this time between two readings a rate would be noise."""


@dataclass(frozen=True, slots=True)
class Load:
    """The load of one pod; None for what its image does not serve.

    Attributes:
        at: seconds.
        running, waiting: requests.
        kv_cache: used share.
        generated: tokens since the start of the engine.
    """

    at: float
    running: float | None = None
    waiting: float | None = None
    kv_cache: float | None = None
    generated: float | None = None


def read(text: bytes, at: float) -> Load:
    """Read the text of a metrics port. Of several engines, requests and tokens are added, and the fullest cache counts.

    Args:
        at: seconds.
    """
    found: dict[bytes, list[float]] = {}
    lines = b"\n" + text
    for name in _NAMES:
        for rest in lines.split(b"\n" + name)[1:]:  # a pattern for all lines takes a hundred times as long
            match = _REST.match(rest)
            value = _number(match.group(1)) if match else None
            if value is not None:
                found.setdefault(name, []).append(value)
    total = {name: sum(values) for name, values in found.items()}
    cache = max(found.get(KV_CACHE, []), default=None)
    return Load(at, total.get(RUNNING), total.get(WAITING), cache, total.get(GENERATED))


def _number(text: bytes) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def by_target(load: Load, before: Load | None) -> Mapping[str, float]:
    """The load by the targets of `spec.autoscaling.target`; what is not known is absent.

    Args:
        before: an earlier reading of the same run, for rates.
    """
    both = None if load.running is None or load.waiting is None else load.running + load.waiting
    values = {
        "inFlightPerReplica": both,
        "waitingPerReplica": load.waiting,
        "kvCacheUsage": load.kv_cache,
        "tokensPerSecondPerReplica": _rate(load, before),
    }
    return {name: value for name, value in values.items() if value is not None}


def _rate(load: Load, before: Load | None) -> float | None:
    if before is None or before.generated is None or load.generated is None:
        return None
    seconds, tokens = load.at - before.at, load.generated - before.generated
    return tokens / seconds if seconds >= _MIN_S and tokens >= 0 else None
