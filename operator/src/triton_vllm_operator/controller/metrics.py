"""The operator's own metrics, for Prometheus."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from triton_vllm_operator import __version__

PREFIX = "triton_vllm_operator"
WRITES = frozenset({"apply", "apply-status", "create", "update", "patch", "delete"})
SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

Gauges = Callable[[], Iterable[Metric]]


def gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{PREFIX}_{name}", text, value=value)


class _Live(Collector):
    """Gauges that are computed at each scrape, so that they cannot be stale."""

    def __init__(self, read: Gauges) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        return self._read()


class Metrics:
    """Counters of one operator, in a registry of its own. Implements the queue's and the client's observers."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each of ours
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._wait = Histogram(
            f"{PREFIX}_queue_wait_seconds",
            "Time that a key waited for a worker",
            buckets=SECONDS,
            registry=self.registry,
        )
        self._reconcile = Histogram(
            f"{PREFIX}_reconcile_seconds",
            "Duration of a reconcile, by result",
            ["result"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._results = Counter(
            f"{PREFIX}_reconciles",
            "Reconciles by result (success, retry, terminal, stopped, defect) and reason",
            ["result", "reason"],
            registry=self.registry,
        )
        self._calls = Counter(
            f"{PREFIX}_api_requests",
            "Requests to the API server",
            ["verb", "kind", "code"],
            registry=self.registry,
        )
        self._writes = Counter(
            f"{PREFIX}_api_writes",
            "Writes that the API server accepted",
            ["verb", "kind"],
            registry=self.registry,
        )
        self.missed = Counter(
            f"{PREFIX}_watch_missed",
            "Changes of LLMDeployments that the watch had missed when the periodic list found them",
            registry=self.registry,
        )
        self._reviews = Histogram(
            f"{PREFIX}_admission_seconds",
            "Duration of an admission review, by result (allowed, warned, refused, unchecked, malformed)",
            ["result"],
            buckets=SECONDS,
            registry=self.registry,
        )
        build = {"version": __version__, "python": platform.python_version()}
        info = GaugeMetricFamily(f"{PREFIX}_build_info", "Version of the operator", labels=list(build))
        info.add_metric(list(build.values()), 1)
        self.registry.register(_Live(lambda: [info]))

    def live(self, read: Gauges) -> None:
        """Add gauges that are computed at each scrape."""
        self.registry.register(_Live(read))

    def waited(self, seconds: float) -> None:
        self._wait.observe(seconds)

    def worked(self, seconds: float, result: str, reason: str) -> None:
        self._reconcile.labels(result).observe(seconds)
        self._results.labels(result, reason).inc()

    def called(self, verb: str, kind: str, code: str, seconds: float) -> None:
        self._calls.labels(verb, kind, code).inc()
        if verb in WRITES and code.startswith("2"):
            self._writes.labels(verb, kind).inc()

    def reviewed(self, result: str, seconds: float) -> None:
        self._reviews.labels(result).observe(seconds)

    def text(self) -> bytes:
        return generate_latest(self.registry)
