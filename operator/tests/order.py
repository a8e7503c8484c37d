"""In which order tests run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def long_first(tests: Sequence[T], long: Sequence[T], workers: int) -> list[T]:
    """The long ones first, shared out among workers, of which each begins with an equal run of neighbours.

    So pytest-xdist's `worksteal` deals them out: the rest of what is left, by the workers that have none yet.
    """
    short = [test for test in tests if test not in long]
    ordered: list[T] = []
    for worker in range(workers):
        size = (len(tests) - len(ordered)) // (workers - worker)
        own = list(long[worker::workers])
        taken = max(0, size - len(own))
        ordered += [*own, *short[:taken]]
        short = short[taken:]
    return [*ordered, *short]
