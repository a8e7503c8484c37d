"""In which order tests run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def long_first(tests: Sequence[T], long: Sequence[T], workers: int) -> list[T]:
    """The long ones first, for half of the workers: they mostly wait, and the others keep the processors busy.

    Each worker begins with an equal run of neighbours of what the workers before it left: so pytest-xdist's `worksteal`
    deals tests out.
    """
    short = [test for test in tests if test not in long]
    waiting = (workers + 1) // 2
    ordered: list[T] = []
    for worker in range(workers):
        size = (len(tests) - len(ordered)) // (workers - worker)
        own = list(long[worker::waiting]) if worker < waiting else []
        taken = max(0, size - len(own))
        ordered += [*own, *short[:taken]]
        short = short[taken:]
    return [*ordered, *short]
