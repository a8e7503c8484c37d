"""A slice of `make bench-autoscaling`."""

from __future__ import annotations

import pytest

from tests.bench.autoscaling import GPUS, LOADS, basic, ours, simulate

SECONDS = 2700


@pytest.mark.parametrize("name", ["step", "more than the GPUs serve"])
def test_no_pod_waits_for_a_gpu_and_no_more_is_held_than_by_the_basic_formula(name: str) -> None:
    found, other = (simulate(LOADS[name], algorithm, 1, SECONDS) for algorithm in (ours, basic))
    assert found.unplaced == 0
    assert found.most <= GPUS < other.most
    assert found.gpu_ratio <= other.gpu_ratio
    assert found.turns == 0
    assert found.short <= other.short + 0.01
