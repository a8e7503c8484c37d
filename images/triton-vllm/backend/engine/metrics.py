"""The engine's metrics on tritonserver's port, under vLLM's own names.

vLLM keeps them in this process, in prometheus_client's registry, at the cost that it has in `vllm serve`. From there
they are copied, every now and then, to Triton's custom metrics: only what has changed. A copy is exact: histograms go
over as their `_bucket`, `_sum` and `_count` series, which Prometheus reads like any histogram's.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from backend.container.processes import name_thread

logger = logging.getLogger("triton_vllm")

PREFIX = "vllm:"
# Gauges are looked at by autoscalers and people; the rest by Prometheus, every 15 seconds or so.
GAUGE_SECONDS = 0.5
OTHERS_EVERY = 4  # that many rounds of the gauges


@dataclass(frozen=True, slots=True)
class Sample:
    """One series with its value."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float
    gauge: bool
    help: str


class Series(Protocol):
    """A series on the other side (`pb_utils.Metric` in the server)."""

    def set(self, value: float) -> None: ...

    def increment(self, value: float) -> None: ...


# (name, gauge, help) -> makes a series of that family, given its labels.
FamilyMaker = Callable[[str, bool, str], Callable[[dict[str, str]], Series]]


class Reader:
    """Reads vLLM's series from a prometheus_client registry."""

    def __init__(self, registry: Any) -> None:
        self._registry = registry
        self._gauges: set[str] = set()

    def everything(self) -> list[Sample]:
        """All series."""
        samples = list(_read(self._registry))
        self._gauges = {sample.name for sample in samples if sample.gauge}
        return samples

    def gauges(self) -> list[Sample]:
        """The gauges that `everything` found last; nothing else is even looked at."""
        return list(_read(self._registry.restricted_registry(self._gauges)))


def _read(registry: Any) -> Iterator[Sample]:
    for family in registry.collect():
        if not family.name.startswith(PREFIX):
            continue
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                labels = tuple(sorted(sample.labels.items()))
                yield Sample(sample.name, labels, sample.value, family.type == "gauge", family.documentation)


@dataclass(slots=True)
class Mirror:
    """Copies series to the other side, each change once."""

    make_family: FamilyMaker
    labels: Mapping[str, str]
    _families: dict[str, Callable[[dict[str, str]], Series]] = field(default_factory=dict)
    _copied: dict[tuple[str, tuple[tuple[str, str], ...]], tuple[Series, float]] = field(default_factory=dict)

    def copy(self, samples: Iterable[Sample]) -> None:
        """Bring the other side up to date."""
        for sample in samples:
            key = (sample.name, sample.labels)
            known = key in self._copied
            metric, last = self._copied[key] if known else (self._make(sample), 0.0)
            # The sum of a histogram falls with what is less than nothing, and a request can make it so. A counter of
            # Triton refuses that, and the python backend (2.51) then frees the words of the refusal twice and dies.
            value = sample.value if sample.gauge else max(last, sample.value)
            if value != last or not known:
                if sample.gauge:
                    metric.set(value)
                else:
                    metric.increment(value - last)
                self._copied[key] = (metric, value)

    def _make(self, sample: Sample) -> Series:
        if sample.name not in self._families:
            self._families[sample.name] = self.make_family(sample.name, sample.gauge, sample.help)
        return self._families[sample.name]({**dict(sample.labels), **self.labels})


class Copier:
    """Runs the mirror in a thread, so that the loop never waits for tritonserver."""

    def __init__(self, mirror: Mirror, reader: Reader) -> None:
        self._mirror = mirror
        self._reader = reader
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Copy once more and end the thread."""
        self._stopping.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        name_thread(self._thread.name)
        rounds = 0
        while True:
            stopping = self._stopping.wait(GAUGE_SECONDS)
            everything = rounds % OTHERS_EVERY == 0 or stopping
            try:
                self._mirror.copy(self._reader.everything() if everything else self._reader.gauges())
            except Exception:
                logger.exception("metrics are no longer copied")
                return
            if stopping:
                return
            rounds += 1
