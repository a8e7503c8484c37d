"""Runs the jobs of a dependency graph in threads, each as soon as those that it depends on have ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Generic, TypeVar

T = TypeVar("T")
Dependencies = Mapping[str, Iterable[str]]
"""Names of the jobs that each job depends on, by the job's name."""


@dataclass(frozen=True)
class Ended(Generic[T]):
    """A job that has ended. `future.result()` is what it returned, or raises what it raised."""

    name: str
    seconds: float
    future: Future[T]


def run(
    dependencies: Dependencies,
    job: Callable[[str], T],
    on_end: Callable[[Ended[T]], None],
    on_heartbeat: Callable[[Mapping[str, float]], None],
    heartbeat_seconds: float,
) -> None:
    """Run `job(name)` once for each name of the graph, in parallel where the graph allows it.

    Args:
        dependencies: The graph. A job's dependencies must be jobs of the graph.
        job: Runs in a thread of its own.
        on_end: Called in the caller's thread as each job ends, before those that depend on it start. If it raises,
            no further job starts, and the exception is raised once the running jobs have ended.
        on_heartbeat: Called in the caller's thread with the seconds of each running job by name, whenever no job
            has ended for `heartbeat_seconds`.

    Raises:
        ValueError: A dependency is not a job of the graph, or jobs depend on each other in a cycle.
    """
    graph = _sorter(dependencies)
    running: dict[Future[T], str] = {}
    started: dict[str, float] = {}
    with ThreadPoolExecutor(max_workers=max(1, len(dependencies))) as pool:
        while graph.is_active():
            for name in graph.get_ready():
                started[name] = time.monotonic()
                running[pool.submit(job, name)] = name
            done, _ = wait(running, timeout=heartbeat_seconds, return_when=FIRST_COMPLETED)
            if not done:
                now = time.monotonic()
                on_heartbeat({name: now - started[name] for name in running.values()})
            for future in done:
                name = running.pop(future)
                on_end(Ended(name, time.monotonic() - started[name], future))
                graph.done(name)


def _sorter(dependencies: Dependencies) -> TopologicalSorter[str]:
    edges = {name: tuple(before) for name, before in dependencies.items()}
    unknown = sorted({other for before in edges.values() for other in before if other not in edges})
    if unknown:
        raise ValueError(f"dependencies that are not jobs: {', '.join(unknown)}")
    graph = TopologicalSorter(edges)
    graph.prepare()  # CycleError, a ValueError
    return graph
