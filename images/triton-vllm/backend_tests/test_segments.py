"""Shared memory that killed servers left goes; what is in use, or what is not ours, stays."""

from __future__ import annotations

import mmap
from pathlib import Path

from backend.launcher.serve import remove_segments


def test_only_unused_segments_of_ours_go(tmp_path: Path) -> None:
    names = ["triton_vllm_backend_shm_region_1", "psm_used", "psm_left", "somebodys_file"]
    for name in names:
        (tmp_path / name).write_bytes(bytes(4096))
    with (tmp_path / "psm_used").open("r+b") as file, mmap.mmap(file.fileno(), 4096):
        assert remove_segments(tmp_path) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["psm_used", "somebodys_file"]
    assert remove_segments(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["somebodys_file"]


def test_a_semaphore_in_use_stays_though_it_was_mapped_under_another_name(tmp_path: Path) -> None:
    made, final = tmp_path / "sem.aB3dEf", tmp_path / "sem.mp-1"
    made.write_bytes(bytes(32))
    final.hardlink_to(made)
    with made.open("r+b") as file, mmap.mmap(file.fileno(), 32):
        made.unlink()
        assert remove_segments(tmp_path) == 0
    assert remove_segments(tmp_path) == 1
