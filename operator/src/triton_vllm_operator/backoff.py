"""Exponential backoff: how long to wait before the next try. It keeps no state and has no clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

_MAXIMUM_DOUBLINGS = 20  # a float of any number of failures would overflow
_SPREAD = 0.2


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays in seconds that start with `first_s` and double with every failure in a row, up to `maximum_s`."""

    first_s: float
    maximum_s: float

    def delay_s(self, failures: int) -> float:
        """Seconds to wait after a failure. `failures`: the number of failures in a row before this one."""
        return min(self.first_s * 2.0 ** min(failures, _MAXIMUM_DOUBLINGS), self.maximum_s)

    def delays(self) -> Iterator[float]:
        """The delays after the first failure, the second and so on, without end."""
        failures = 0
        while True:
            yield self.delay_s(failures)
            failures += 1


def with_jitter(seconds: float, rand: Random) -> float:
    """The time, longer or shorter by up to 20 %, so that many waiters do not try again at the same moment."""
    return seconds * rand.uniform(1 - _SPREAD, 1 + _SPREAD)
