"""Speed beside plain `vllm serve` with the same arguments on the same GPUs: `make bench-serving`, short."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from bench import figures
from bench.__main__ import Bench, Generator, Plan
from bench.servers import fleet
from gpu.place import Place
from gpu.record import Record
from testing.server import TINY_ENGINE

CLIENTS = (1, 64, 512)
ROUNDS, MORE_ROUNDS, SECONDS, TOKENS = 2, 0, 2.0, 96
# Both engines run on the same GPUs at once, so that each has its share and a KV cache of a given size.
KV_BYTES = 16 << 30
ENGINE = {
    "enable_prefix_caching": False,
    "max_model_len": 2048,
    "max_num_seqs": 512,
    "gpu_memory_utilization": 0.45,
}


def speed(place: Place, record: Record, shape: str, **engine: Any) -> None:
    """One model: every promise is kept, at every number of clients taken together."""
    arguments = place.engine(shape, **ENGINE, kv_cache_memory_bytes=KV_BYTES, **engine)
    clients = place.clients or CLIENTS
    if place.on_cpu:
        arguments |= {"max_model_len": 2048, "max_num_seqs": TINY_ENGINE["max_num_seqs"]}
    plan = Plan(clients, place.rounds or ROUNDS, MORE_ROUNDS, SECONDS, TOKENS)
    generator = Generator(place.variant)
    bench = Bench(plan, generator, place.folder / "measured.json", figures.STRICT)
    begun = time.monotonic()
    try:
        with fleet(place.folder, arguments, place.variant, stock=False, variables=place.variables()) as running:
            record.headline["ready"] = round(time.monotonic() - begun, 1)
            bench.model(shape, running)
    finally:
        generator.close()
    judge(bench, record)


def judge(bench: Bench, record: Record) -> None:
    """Every promise, and the medians that it comes from."""
    verdicts = figures.judge(bench.measured, sum(bench.copier) / len(bench.copier), figures.STRICT)
    record.facts["promises"] = {verdict.text: verdict.word for verdict in verdicts}
    record.facts["measured"] = medians(bench.measured)
    record.headline["promises kept"] = f"{sum(one.word != figures.MISSED for one in verdicts)} of {len(verdicts)}"
    for verdict in verdicts:
        record.expect(verdict.word != figures.MISSED, verdict.text)


FIGURES = (figures.SPEED, figures.FIRST, figures.FIRST_TAIL, figures.EACH, figures.BETWEEN_TAIL, "loadShare")


def _figure(name: str, one: figures.Measured) -> float:
    return float(one.result[name])


def medians(measured: list[figures.Measured]) -> dict[str, dict[str, float]]:
    """`TARGET, N clients` -> the medians of its figures."""
    found: dict[str, dict[str, float]] = {}
    for name in FIGURES:
        own = figures.medians(measured, partial(_figure, name))
        for (target, clients), value in own.items():
            found.setdefault(f"{target}, {clients} clients", {})[name] = round(value, 5)
    return found
