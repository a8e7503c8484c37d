"""The image's knowledge of vLLM's model classes is copied to where vLLM looks for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.patches import modelinfo_cache
from backend.patches.modelinfo_cache import cache_root


@pytest.mark.parametrize(
    ("variables", "root"),
    [
        ({"VLLM_CACHE_ROOT": "/cache/vllm", "XDG_CACHE_HOME": "/other"}, "/cache/vllm"),
        ({"XDG_CACHE_HOME": "/cache/xdg"}, "/cache/xdg/vllm"),
        ({}, str(Path.home() / ".cache/vllm")),
    ],
)
def test_the_folder_is_where_vllm_looks(variables: dict[str, str], root: str) -> None:
    assert cache_root(variables) == Path(root)


def test_entries_are_copied_over_older_ones_and_others_stay(tmp_path: Path) -> None:
    known, root = tmp_path / "modelinfos", tmp_path / "cache"
    known.mkdir()
    for name in ("llama", "qwen"):
        (known / f"{name}.json").write_text("new")
    (root / "modelinfos").mkdir(parents=True)
    for name in ("llama", "own"):
        (root / f"modelinfos/{name}.json").write_text("old")
    assert modelinfo_cache.install({"VLLM_CACHE_ROOT": str(root)}, known) == 2
    found = {path.stem: path.read_text() for path in (root / "modelinfos").iterdir()}
    assert found == {"llama": "new", "qwen": "new", "own": "old"}


def test_a_folder_that_cannot_be_written_is_told_and_no_more(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    known, root = tmp_path / "modelinfos", tmp_path / "cache"
    known.mkdir()
    root.write_text("a file")
    assert modelinfo_cache.install({"VLLM_CACHE_ROOT": str(root)}, known) == 0
    assert str(root) in capfd.readouterr().err


def test_an_environment_without_them_is_left_alone(tmp_path: Path) -> None:
    assert modelinfo_cache.install({"VLLM_CACHE_ROOT": str(tmp_path / "cache")}, tmp_path / "nothing") == 0
    assert not (tmp_path / "cache").exists()
