"""The memory of the container, as both versions of control groups report it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from backend.container.host_memory import HostMeter, Usage, read_usage

V2 = {"anon": 1000, "file": 700, "shmem": 200, "kernel": 90, "slab_reclaimable": 30, "sock": 5}
V1 = {"total_rss": 1000, "total_cache": 700, "total_shmem": 200}


def write(root: Path, file: str, values: dict[str, int]) -> None:
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name} {value}\n" for name, value in values.items()))


@pytest.mark.parametrize(
    ("file", "values", "expected"),
    [
        ("memory.stat", V2, Usage(1265, 200, 500)),
        (
            "memory.stat",
            {"anon": 10, "file": 5, "shmem": 5, "kernel_stack": 1, "pagetables": 2, "slab": 8, "slab_reclaimable": 6},
            Usage(20, 5, 0),
        ),
        ("memory/memory.stat", V1, Usage(1200, 200, 500)),
        ("memory/memory.stat", {"total_rss": 7, "total_cache": 3}, Usage(7, 0, 3)),
    ],
)
def test_what_the_kernel_can_take_back_is_not_used(
    tmp_path: Path, file: str, values: dict[str, int], expected: Usage
) -> None:
    write(tmp_path, file, values)
    assert read_usage(tmp_path) == expected


def test_version_1_counts_the_kernels_memory(tmp_path: Path) -> None:
    write(tmp_path, "memory/memory.stat", V1)
    (tmp_path / "memory/memory.kmem.usage_in_bytes").write_text("50\n")
    assert read_usage(tmp_path) == Usage(1250, 200, 500)


@pytest.mark.parametrize("text", ["", "anon x\n", "something 3\n"])
def test_a_kernel_that_says_nothing_is_no_usage(tmp_path: Path, text: str) -> None:
    (tmp_path / "memory.stat").write_text(text)
    assert read_usage(tmp_path) is None
    meter = HostMeter(tmp_path)
    meter.loaded()
    meter.first_token()
    assert meter.report().to_json() == {}


def test_the_peak_of_the_load_stays_and_the_rest_is_of_the_moment(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("5000\n")
    write(tmp_path, "memory.stat", V2)
    meter = HostMeter(tmp_path)
    until = time.monotonic() + 30
    while meter.report().load_peak is None and time.monotonic() < until:
        time.sleep(0.01)
    write(tmp_path, "memory.stat", {**V2, "anon": 400})
    meter.loaded()
    write(tmp_path, "memory.stat", {**V2, "anon": 500})
    meter.first_token()
    write(tmp_path, "memory.stat", {**V2, "anon": 600, "shmem": 100})
    assert meter.report().to_json() == {
        "limitBytes": 5000,
        "loadPeakBytes": 1265,
        "firstTokenBytes": 765,
        "currentBytes": 765,
        "sharedBytes": 100,
        "pageCacheBytes": 600,
    }


def test_a_short_load_has_a_peak_too(tmp_path: Path) -> None:
    write(tmp_path, "memory.stat", V2)
    meter = HostMeter(tmp_path)
    meter.loaded()
    assert meter.report().load_peak == 1265
