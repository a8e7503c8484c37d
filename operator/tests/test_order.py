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


@pytest.mark.parametrize(("workers", "waiting"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_half_of_the_workers_begin_with_the_long_ones(workers: int, waiting: int) -> None:
    tests = list(range(30))
    ordered = long_first(tests, LONG, workers)
    assert sorted(ordered) == tests
    firsts = [ordered[at] for at in begins(30, workers)]
    assert [first for first in firsts if first in LONG] == LONG[:waiting]
    shares = [len(LONG[worker::waiting]) for worker in range(waiting)]
    for begin, share in zip(begins(30, workers), shares, strict=False):
        assert set(ordered[begin : begin + share]) <= set(LONG)


def test_short_ones_keep_their_order() -> None:
    assert long_first("abcdef", "df", 2) == ["d", "f", "a", "b", "c", "e"]


def test_more_workers_than_tests() -> None:
    assert long_first("ab", "b", 4) == ["b", "a"]
