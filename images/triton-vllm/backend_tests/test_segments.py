"""Shared memory that killed servers left goes; what somebody uses, or what is not ours, stays."""

from __future__ import annotations

import mmap
from pathlib import Path

from backend.serve import remove_segments


def test_only_unused_segments_of_ours_go(tmp_path: Path) -> None:
    names = ["triton_vllm_backend_shm_region_1", "psm_used", "psm_left", "somebodys_file"]
    for name in names:
        (tmp_path / name).write_bytes(bytes(4096))
    with (tmp_path / "psm_used").open("r+b") as file, mmap.mmap(file.fileno(), 4096):
        assert remove_segments(tmp_path) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["psm_used", "somebodys_file"]
    assert remove_segments(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["somebodys_file"]
