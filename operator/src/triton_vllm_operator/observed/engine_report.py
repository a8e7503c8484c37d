"""The engine report of a serving pod, parsed as untrusted input."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from contract import report as keys
from contract.report import DEVICES, HOST_KEYS, MEMORY_KEYS, Device, HostMemory, MemoryTerms
from triton_vllm_operator.api.status import ActualStatus, HostActual, PerGPUActual
from triton_vllm_operator.observed.pods import PodState

_LONGEST_TEXT = 64
# A bound for every number of bytes, tokens and blocks: the API server and its clients keep 63 bits, JavaScript 53.
_LARGEST = 2**53


@dataclass(eq=False)
class Unreadable(Exception):
    """The text is not a report. `problem`: what is wrong with it, in a few words."""

    problem: str

    def __str__(self) -> str:
        return self.problem


@dataclass(frozen=True, slots=True)
class Report:
    """Settings and memory of one engine, and of its container.

    Attributes:
        engine_version: vLLM inside the pod.
        device: what it runs on.
        block_size: tokens in a block.
        tokens: that the KV cache holds.
        concurrency: requests of `max_model_len` tokens at once.
    """

    engine_version: str
    device: Device
    max_model_len: int
    block_size: int
    blocks: int
    tokens: int
    concurrency: float
    memory: MemoryTerms
    host: HostMemory = field(default_factory=HostMemory)


def read(text: bytes) -> Report:
    """Parse the report that the serving image sent.

    Raises:
        Unreadable: the text is not a report, or a figure is out of bounds.
    """
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"it is not JSON: {type(error).__name__}") from error
    return _parsed(body, engine_version=keys.VERSION)


def recorded(status: Any) -> Report | None:
    """Return the report that `status.actual` holds; None if it is absent or of another version."""
    try:
        return _parsed(status, engine_version="engineVersion")
    except Unreadable:
        return None


def to_status(report: Report, pod: PodState) -> ActualStatus:
    """Return `status.actual` for the report of a pod."""
    memory, host = report.memory.to_json(), report.host.to_json()
    return ActualStatus(
        pod=pod.name,
        restarts=pod.server.restarts,
        engine_version=report.engine_version,
        device=report.device,
        per_gpu=PerGPUActual.model_validate(memory) if memory else None,
        host=HostActual.model_validate(host) if host else None,
        block_size=report.block_size,
        blocks=report.blocks,
        kv_cache_tokens=report.tokens,
        max_model_len=report.max_model_len,
        concurrency_at_max_model_len=report.concurrency,
    )


def least(reports: Iterable[tuple[str, Report]], preferred: str) -> tuple[str, Report] | None:
    """Return the report with the smallest KV cache, and its pod; of equal ones `preferred`, to save a write."""
    return min(reports, key=lambda pair: (pair[1].tokens, pair[0] != preferred, pair[0]), default=None)


def _parsed(body: Any, engine_version: str) -> Report:
    if not isinstance(body, Mapping):
        raise Unreadable("it is not a JSON object")
    memory, host = _object(body, keys.PER_GPU), _object(body, keys.HOST)
    device = _text(body, keys.DEVICE)
    if device not in DEVICES:
        raise Unreadable(f"device is neither {' nor '.join(DEVICES)}")
    return Report(
        engine_version=_text(body, engine_version),
        device=cast(Device, device),
        max_model_len=_count(body, keys.MAX_MODEL_LEN),
        block_size=_count(body, keys.BLOCK_SIZE),
        blocks=_count(body, keys.BLOCKS),
        tokens=_count(body, keys.KV_CACHE_TOKENS),
        concurrency=_number(body, keys.CONCURRENCY),
        memory=MemoryTerms(**{name: _count(memory, key) for name, key in MEMORY_KEYS.items() if key in memory}),
        host=HostMemory(**{name: _count(host, key) for name, key in HOST_KEYS.items() if key in host}),
    )


def _object(body: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = body.get(key, {})
    if not isinstance(value, Mapping):
        raise Unreadable(f"{key} is not an object")
    return value


def _text(body: Mapping[str, Any], key: str) -> str:
    value = body.get(key)
    if (
        not isinstance(value, str)
        or not 0 < len(value) <= _LONGEST_TEXT
        or not (value.isascii() and value.isprintable())
    ):
        raise Unreadable(f"{key} is not a short text")
    return value


def _count(body: Mapping[str, Any], key: str) -> int:
    value = body.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _LARGEST:
        raise Unreadable(f"{key} is not a whole number from 0 to 2^53")
    return value


def _number(body: Mapping[str, Any], key: str) -> float:
    value = body.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _LARGEST:
        raise Unreadable(f"{key} is not a number from 0 to 2^53")
    return round(float(value), 4)
