"""Compiled kernels are kept below one folder, and those of the image are copied there."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from backend.launcher.kernel_caches import KERNEL_CACHES, copy_triton_kernels, set_cache_folders
from backend.patches.modelinfo_cache import cache_root


def test_every_cache_of_kernels_lies_below_the_folder_for_caches(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "XDG_CACHE_HOME": "/cache/xdg"}
    assert set_cache_folders(environment) == Path("/cache/xdg")
    assert environment["XDG_CACHE_HOME"] == "/cache/xdg"
    assert environment["HOME"] == str(tmp_path)
    assert {environment[name] for name in KERNEL_CACHES} == {f"/cache/xdg/{name}" for name in KERNEL_CACHES.values()}
    # vLLM's own is there too, and with it what vLLM places itself (DeepGEMM, torch.compile).
    assert cache_root(environment) == Path("/cache/xdg/vllm")


def test_without_any_variable_it_is_below_the_home_folder(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "XDG_CACHE_HOME": ""}
    assert set_cache_folders(environment) == tmp_path / ".cache"
    assert environment["FLASHINFER_WORKSPACE_BASE"] == str(tmp_path / ".cache/flashinfer")


@pytest.mark.parametrize("home", [None, "", "/nonexistent"])
def test_a_home_folder_that_cannot_be_written_is_replaced(home: str | None) -> None:
    environment = {} if home is None else {"HOME": home}
    assert set_cache_folders(environment) == Path(tempfile.gettempdir()) / ".cache"
    assert environment["HOME"] == tempfile.gettempdir()


def test_what_the_user_set_stays(tmp_path: Path) -> None:
    theirs = {"HOME": str(tmp_path), "TRITON_CACHE_DIR": "/mine", "LOGNAME": "me"}
    environment = dict(theirs)
    set_cache_folders(environment)
    assert {name: environment[name] for name in theirs} == theirs
    assert "USER" not in environment


def test_a_user_without_a_name_gets_one(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path)}
    set_cache_folders(environment)
    assert environment["USER"].startswith("uid-")


@pytest.fixture
def kernels(tmp_path: Path) -> Path:
    """Two kernels as the image has them, readable alone."""
    known = tmp_path / "triton"
    for name in ("ABC", "DEF"):
        (known / name).mkdir(parents=True)
        for file in ("kernel.cubin", "kernel.json"):
            (known / name / file).write_text(name)
            (known / name / file).chmod(0o444)
        (known / name).chmod(0o555)
    return known


def contents(cache: Path) -> dict[str, str]:
    return {str(path.relative_to(cache)): path.read_text() for path in cache.rglob("*") if path.is_file()}


BOTH = {f"{name}/kernel.{end}": name for name in ("ABC", "DEF") for end in ("cubin", "json")}


def test_kernels_of_the_image_are_copied_to_tritons_cache(tmp_path: Path, kernels: Path) -> None:
    cache = tmp_path / "cache/deep"
    assert copy_triton_kernels({"TRITON_CACHE_DIR": str(cache)}, kernels) == 2
    assert contents(cache) == BOTH
    assert {path.name for path in cache.iterdir()} == {"ABC", "DEF"}
    # Another user's pod reads it, and Triton may write beside.
    assert {path.stat().st_mode & 0o777 for path in cache.iterdir()} == {0o755}
    assert all(path.stat().st_mode & 0o200 for path in cache.rglob("kernel.*"))


def test_a_kernel_that_is_there_stays(tmp_path: Path, kernels: Path) -> None:
    cache = tmp_path / "cache"
    (cache / "ABC").mkdir(parents=True)
    (cache / "ABC/own.cubin").write_text("own")
    assert copy_triton_kernels({"TRITON_CACHE_DIR": str(cache)}, kernels) == 2
    assert contents(cache) == {"ABC/own.cubin": "own", **{key: one for key, one in BOTH.items() if one == "DEF"}}


def test_a_kernel_is_in_the_cache_whole_or_not_at_all(
    tmp_path: Path, kernels: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    cache, copy, left = tmp_path / "cache", shutil.copyfile, [3]

    def until_the_disk_is_full(source: str, target: str) -> str:
        left[0] -= 1
        assert not (cache / Path(source).parent.name).exists(), "Triton would take it for whole"
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        return copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", until_the_disk_is_full)
    assert copy_triton_kernels({"TRITON_CACHE_DIR": str(cache)}, kernels) == 1
    (whole,) = {path.name for path in cache.iterdir()}
    assert len(list((cache / whole).iterdir())) == 2
    assert f"failed to copy the image's kernels to {cache}: " in capfd.readouterr().err


def test_two_pods_that_copy_into_one_cache_do_not_disturb_each_other(
    tmp_path: Path, kernels: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    cache, copy = tmp_path / "cache", shutil.copyfile

    def other_is_faster(source: str, target: str) -> str:
        monkeypatch.setattr(shutil, "copyfile", copy)
        assert copy_triton_kernels({"TRITON_CACHE_DIR": str(cache)}, kernels) == 2
        return copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", other_is_faster)
    assert copy_triton_kernels({"TRITON_CACHE_DIR": str(cache)}, kernels) == 2
    assert {path.name for path in cache.iterdir()} == {"ABC", "DEF"}
    assert contents(cache) == BOTH
    assert capfd.readouterr().err == ""


def test_a_cache_that_cannot_be_written_is_told_and_no_more(
    tmp_path: Path, kernels: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cache").write_text("a file")
    assert copy_triton_kernels({"TRITON_CACHE_DIR": str(tmp_path / "cache")}, kernels) == 0
    assert f"failed to copy the image's kernels to {tmp_path / 'cache'}" in capfd.readouterr().err


def test_without_a_cache_or_without_kernels_nothing_is_written(tmp_path: Path, kernels: Path) -> None:
    before = sorted(os.listdir(tmp_path))
    assert copy_triton_kernels({}, kernels) == 0
    assert copy_triton_kernels({"TRITON_CACHE_DIR": str(tmp_path / "cache")}, tmp_path / "nothing") == 0
    assert sorted(os.listdir(tmp_path)) == before
