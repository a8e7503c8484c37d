"""Exponential backoff: when something that failed is tried again."""

from __future__ import annotations

import itertools
import random

import pytest

from triton_vllm_operator.backoff import Backoff, with_jitter
from triton_vllm_operator.controller.kopf_settings import CappedBackoffs


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 0.5), (1, 1.0), (2, 2.0), (5, 16.0), (6, 30.0), (20, 30.0), (10_000, 30.0)]
)
def test_the_delay_doubles_with_every_failure_up_to_its_maximum(failures: int, seconds: float) -> None:
    assert Backoff(0.5, 30.0).delay_s(failures) == seconds


def test_the_first_delay_never_exceeds_the_maximum() -> None:
    assert Backoff(4.0, 0.12).delay_s(0) == 0.12


def test_kopf_never_runs_out_of_delays_and_each_request_starts_with_the_first() -> None:
    delays = CappedBackoffs()
    for _ in range(2):
        assert list(itertools.islice(delays, 6)) == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_jitter_spreads_a_delay_by_a_fifth_to_both_sides() -> None:
    rand = random.Random(1)
    found = [with_jitter(10.0, rand) for _ in range(1000)]
    assert 8.0 <= min(found) < 8.1
    assert 11.9 < max(found) <= 12.0
