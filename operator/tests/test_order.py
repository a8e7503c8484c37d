"""The order of tests: no long one is left for the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.order import long_first

LONG = [3, 17, 25, 26, 29]


def begins(tests: int, workers: int) -> Iterator[int]:
    """Where the workers of pytest-xdist begin: each gets an equal part of what those before it left."""
    at = 0
    for worker in range(workers):
        yield at
        at += (tests - at) // (workers - worker)


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_each_worker_begins_with_a_long_one(workers: int) -> None:
    tests = list(range(30))
    ordered = long_first(tests, LONG, workers)
    assert sorted(ordered) == tests
    assert [ordered[at] for at in begins(30, workers)] == LONG[:workers]


def test_short_ones_keep_their_order() -> None:
    assert long_first("abcdef", "df", 2) == ["d", "a", "b", "f", "c", "e"]


def test_more_workers_than_tests() -> None:
    assert long_first("ab", "b", 4) == ["b", "a"]
