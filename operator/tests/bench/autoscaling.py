"""The autoscaler against synthetic loads, with seeds: `make bench-autoscaling`. A row per load and algorithm.

The simulated pods serve a fixed number of requests at the same time, the others wait; a pod takes two minutes to load.
Compared are the operator's decision, the HorizontalPodAutoscaler's basic formula (replicas x average / target, which
knows neither loading pods nor GPUs), and the least that an algorithm could hold that knows the load beforehand.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tools import documents
from triton_vllm_operator.api.spec import AutoscalingSpec
from triton_vllm_operator.plan.autoscaling import History, ScalingState, decide

NAME = "inFlightPerReplica"
TARGET, SLOTS = 10, 16
SERVICE_S, LOAD_S, INTERVAL_S = 10.0, 120, 15
GPUS, MAXIMUM = 8, 12
HOURS_S = 7200
SEEDS = (1, 2, 3)
SPEC = AutoscalingSpec.model_validate({"maxReplicas": MAXIMUM, "target": {NAME: TARGET}})

Load = Callable[[int], float]
"""Requests per second at a second of the simulation."""


def _bursts(second: int) -> float:
    return 6.0 if second % 1200 < 180 else 1.0


LOADS: dict[str, Load] = {
    "constant": lambda _: 3.0,
    "step": lambda second: 1.0 if second < 1800 or second > 5400 else 6.0,
    "ramp": lambda second: 0.5 + 6.0 * min(second, HOURS_S - second) / (HOURS_S / 2),
    "day and night": lambda second: 3.5 - 3.0 * math.cos(2 * math.pi * second / HOURS_S),
    "bursts of 3 minutes": _bursts,
    "more than the GPUs serve": lambda second: 1.0 if second < 1800 or second > 5400 else 10.0,
}


@dataclass
class Simulation:
    """A Deployment under a load.

    Attributes:
        ready_at: for each pod that has a GPU, the second at which it is ready.
        wanted: number of pods that should run.
    """

    load: Load
    rand: random.Random
    ready_at: list[int] = field(default_factory=lambda: [0])
    wanted: int = 1
    queue: deque[int] = field(default_factory=deque)
    ends: list[float] = field(default_factory=list)
    waited: float = 0.0
    arrived: int = 0

    def turn(self, second: int) -> int:
        """One second: requests end, arrive and begin; the number of ready pods."""
        while self.ends and self.ends[0] <= second:
            heapq.heappop(self.ends)
        for _ in range(self._arrivals(second)):
            self.queue.append(second)
        ready = sum(1 for at in self.ready_at if at <= second)
        while self.queue and len(self.ends) < ready * SLOTS:
            self.waited += second - self.queue.popleft()
            heapq.heappush(self.ends, second + self.rand.expovariate(1 / SERVICE_S))
        return ready

    def _arrivals(self, second: int) -> int:
        """A number with Poisson's distribution."""
        count, rest = 0, self.rand.expovariate(1.0)
        while rest < self.load(second):
            count, rest = count + 1, rest + self.rand.expovariate(1.0)
        self.arrived += count
        return count

    @property
    def in_flight(self) -> int:
        return len(self.ends) + len(self.queue)

    def place(self, second: int) -> None:
        """Pods get GPUs as far as there are any; of too many, those that load go first."""
        while len(self.ready_at) < min(self.wanted, GPUS):
            self.ready_at.append(second + LOAD_S)
        del self.ready_at[self.wanted :]


@dataclass(frozen=True, slots=True)
class Figures:
    """What came of one load and algorithm.

    Attributes:
        short: share of the time in which requests waited for a pod.
        wait_s: mean seconds that a request waited.
        most: highest number of pods that should run.
        turns: how often the number went up after it went down, or down after up.
        gpu_ratio: GPU-seconds by those of the least.
        unplaced: share of the time in which a pod waited for a GPU.
    """

    short: float
    wait_s: float
    most: int
    turns: int
    gpu_ratio: float
    unplaced: float


Decide = Callable[[Simulation, int, History, int], tuple[int, int]]


def ours(run: Simulation, ready: int, past: History, second: int) -> tuple[int, int]:
    """The operator's decision: the number of pods, and what is recommended."""
    pods = [{NAME: run.in_flight / ready}] * ready if ready else []
    placed = len(run.ready_at)
    decision = decide(
        ScalingState(
            run.wanted, pods, max(run.wanted - ready, 0), SPEC, past, second, placed=placed, room=GPUS - placed
        )
    )
    return decision.desired, decision.recommended


def basic(run: Simulation, ready: int, past: History, second: int) -> tuple[int, int]:
    """The basic formula, with the same windows and policies: every pod counts as if it had the average of the ready."""
    pods = [{NAME: run.in_flight / ready}] * run.wanted if ready else []
    decision = decide(ScalingState(run.wanted, pods, 0, SPEC, past, second))
    return decision.desired, decision.recommended


ALGORITHMS: dict[str, Decide] = {"operator": ours, "basic formula": basic}


def needed(load: Load, second: int) -> int:
    """Pods for the mean load of a second."""
    return min(max(math.ceil(load(second) * SERVICE_S / TARGET - 1e-9), 1), GPUS)


def least(load: Load, seconds: int) -> int:
    """GPU-seconds of pods that are started so early that they are ready when they are needed, and not earlier."""
    need = [needed(load, second) for second in range(seconds + LOAD_S)]
    return sum(max(need[second : second + LOAD_S + 1 : INTERVAL_S]) for second in range(seconds))


def simulate(load: Load, algorithm: Decide, seed: int, seconds: int = HOURS_S) -> Figures:
    """One run."""
    run, past = Simulation(load, random.Random(seed)), History()
    numbers, short, unplaced, held = [1], 0, 0, 0
    for second in range(seconds):
        ready = run.turn(second)
        if second % INTERVAL_S == 0:
            desired, recommended = algorithm(run, ready, past, second)
            past = past.recommended(recommended, second)
            if desired != run.wanted:
                past = past.changed(desired - run.wanted, second)
                run.wanted = desired
                numbers.append(desired)
        run.place(second)
        short += bool(run.queue)
        unplaced += run.wanted > len(run.ready_at)
        held += len(run.ready_at)
    steps = [b - a for a, b in pairwise(numbers)]
    return Figures(
        short=short / seconds,
        wait_s=run.waited / max(run.arrived, 1),
        most=max(numbers),
        turns=sum(a * b < 0 for a, b in pairwise(steps)),
        gpu_ratio=held / least(load, seconds),
        unplaced=unplaced / seconds,
    )


def rows(seeds: Sequence[int] = SEEDS) -> Iterator[list[object]]:
    """A row per load and algorithm, averaged over the seeds."""
    for name, load in LOADS.items():
        for algorithm, decision in ALGORITHMS.items():
            found = [simulate(load, decision, seed) for seed in seeds]

            def mean(of: Callable[[Figures], float], found: Sequence[Figures] = found) -> float:
                return sum(of(one) for one in found) / len(found)

            yield [
                name,
                algorithm,
                f"{100 * mean(lambda one: one.short):.1f} %",
                f"{mean(lambda one: one.wait_s):.1f}",
                f"{max(one.most for one in found)} ({max(needed(load, second) for second in range(HOURS_S))})",
                f"{mean(lambda one: one.turns):.1f}",
                f"{mean(lambda one: one.gpu_ratio):.2f}",
                f"{100 * mean(lambda one: one.unplaced):.1f} %",
            ]


HEAD = (
    "load", "algorithm", "time in which requests wait", "mean wait (s)", "most pods (needed)", "turns",
    "GPU-seconds, by the least", "time in which a pod waits for a GPU",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-autoscaling", description=__doc__)
    parser.add_argument("--seed", type=int, action="append", help=f"may be repeated; {SEEDS} when absent")
    parser.add_argument("--write", action="store_true", help="write the figures into operator/docs/autoscaling.md")
    given = parser.parse_args()
    text = documents.table(HEAD, list(rows(given.seed or SEEDS)))
    print(text)
    if given.write:
        documents.write(documents.DOCS / "autoscaling.md", "make bench-autoscaling", text)


if __name__ == "__main__":
    main()
