"""How long a start takes: with nothing compiled yet, and with what the start before it has compiled."""

from __future__ import annotations

import shutil
from typing import Any

from gpu.exercise import GRAMMAR, exercise
from gpu.place import Place, Started, started
from gpu.record import Record
from gpu.remains import gpu_memory
from gpu.rows import latest

SHAPE = "llama-3.1-8b"
# Seconds from the start of the launcher to the first token.
COLD_SECONDS, WARM_SECONDS = 60.0, 20.0
# Two GPUs over one.
RATIO = 1.2
ONE, TWO = "startup", "startup-two"


def startup(place: Place, record: Record, **engine: Any) -> None:
    """A start in a new folder for caches, and the same start again."""
    measure(place, record, 1.0, **engine)


def measure(place: Place, record: Record, allowance: float, **engine: Any) -> None:
    """Both starts; each may take `allowance` times as long as one GPU may."""
    caches = place.folder / "caches"
    arguments = place.engine(SHAPE, **GRAMMAR, **engine)
    for name, most in (("cold", COLD_SECONDS), ("warm", WARM_SECONDS)):
        with started(place, arguments, record, name=name, caches=caches) as found:
            gpu_memory(place, found.server, record)
            exercise(found, record)
            record.facts.setdefault("requests", {})[name] = record.facts.pop("requestSeconds")
            record.facts[f"{name} ports open"] = round(found.seconds, 1)
            record.within(f"{name} first token", first_token(found), allowance * most)
    shutil.rmtree(caches)


def startup_two(place: Place, record: Record, **engine: Any) -> None:
    """The same with two GPUs, beside what one took."""
    measure(place, record, RATIO, tensor_parallel_size=2, **engine)
    beside_one(place, record)


def beside_one(place: Place, record: Record) -> None:
    """Judge what two GPUs took by the last row of one GPU."""
    one = latest(place.rows, ONE)
    if one is None:
        record.open_questions.append(f"two GPUs beside one: no row of {ONE} in {place.rows.name}")
        return
    for name in ("cold", "warm"):
        what = f"{name} first token"
        ours, theirs = record.facts[what], one["facts"].get(what)
        if ours and theirs:
            ratio = record.facts[f"{name} two over one"] = round(ours / theirs, 2)
            record.expect(ratio <= RATIO, f"{name}: two GPUs take {ratio} times as long as one, at most {RATIO}")


def first_token(found: Started) -> float | None:
    """Seconds from the start of the launcher to the first token, from the log."""
    return found.phases().get("FirstToken", {}).get("elapsed")
