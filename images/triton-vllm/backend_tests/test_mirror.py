"""Copies of metrics are exact, and cost only what has changed."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from backend.engine.metrics import Mirror, Reader


class Other:
    """The other side: series -> value, and how often it received something."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self.families: list[tuple[str, bool]] = []
        self.calls = 0

    def make(self, name: str, gauge: bool, _help: str) -> Any:
        self.families.append((name, gauge))
        return lambda labels: _Series(self, (name, tuple(sorted(labels.items()))))

    def value(self, name: str, **labels: str) -> float:
        return self.values[name, tuple(sorted({**labels, "model": "llm"}.items()))]


class _Series:
    def __init__(self, other: Other, key: tuple[str, tuple[tuple[str, str], ...]]) -> None:
        self._other, self._key = other, key

    def set(self, value: float) -> None:
        self._other.calls += 1
        self._other.values[self._key] = value

    def increment(self, value: float) -> None:
        self._other.calls += 1
        self._other.values[self._key] = self._other.values.get(self._key, 0.0) + value


def test_every_kind_arrives_and_only_changes_are_sent() -> None:
    registry, other = CollectorRegistry(), Other()
    tokens = Counter("vllm:tokens", "Tokens", ["engine"], registry=registry)
    waiting = Gauge("vllm:waiting", "Waiting", registry=registry)
    seconds = Histogram("vllm:seconds", "Seconds", registry=registry, buckets=(0.1, 1.0))
    Gauge("python_info", "not vLLM's", registry=registry)
    mirror, reader = Mirror(other.make, {"model": "llm"}), Reader(registry)

    tokens.labels("0").inc(5)
    waiting.set(3)
    seconds.observe(0.5)
    mirror.copy(reader.everything())
    assert other.value("vllm:tokens_total", engine="0") == 5
    assert other.value("vllm:waiting") == 3
    assert other.value("vllm:seconds_bucket", le="0.1") == 0
    assert other.value("vllm:seconds_bucket", le="+Inf") == 1
    assert other.value("vllm:seconds_sum") == 0.5
    assert ("vllm:waiting", True) in other.families
    assert not any(name.startswith("python") or name.endswith("_created") for name, _ in other.families)

    calls = other.calls
    mirror.copy(reader.everything())
    assert other.calls == calls

    tokens.labels("0").inc(1)
    waiting.set(9)
    mirror.copy(reader.gauges())
    assert other.value("vllm:waiting") == 9
    assert other.value("vllm:tokens_total", engine="0") == 5

    calls = other.calls
    tokens.labels("0").inc(1)
    waiting.set(0)
    mirror.copy(reader.everything())
    assert other.calls == calls + 2
    assert other.value("vllm:tokens_total", engine="0") == 7
    assert other.value("vllm:waiting") == 0
    assert len(other.families) == len(set(other.families))


def test_counter_of_the_other_side_never_falls_and_never_gets_what_is_no_number() -> None:
    registry, other = CollectorRegistry(), Other()
    seconds = Histogram("vllm:seconds", "Seconds", ["engine"], registry=registry, buckets=(1.0,))
    mirror, reader = Mirror(other.make, {"model": "llm"}), Reader(registry)
    seen = []
    for value in (-2.0, 5.0, -4.0, 6.0, float("nan")):
        seconds.labels("0").observe(value)
        mirror.copy(reader.everything())
        seen.append(other.value("vllm:seconds_sum", engine="0"))
    # The sums are -2, 3, -1, 5 and no number.
    assert seen == [0.0, 3.0, 3.0, 5.0, 5.0]
    assert other.value("vllm:seconds_count", engine="0") == 4  # no bucket takes what is not a number
    assert len(other.families) == len(set(other.families))
