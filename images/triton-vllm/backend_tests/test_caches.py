"""Compiled kernels are kept below one folder; what the image knows of the model classes is where vLLM looks."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from backend.caches import KERNEL_CACHES, cache_root, give_model_infos, keep_together


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


def test_every_cache_of_kernels_lies_below_the_folder_for_caches(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "XDG_CACHE_HOME": "/cache/xdg"}
    assert keep_together(environment) == Path("/cache/xdg")
    assert environment["XDG_CACHE_HOME"] == "/cache/xdg"
    assert environment["HOME"] == str(tmp_path)
    assert {environment[name] for name in KERNEL_CACHES} == {f"/cache/xdg/{name}" for name in KERNEL_CACHES.values()}
    # vLLM's own is there too, and with it what vLLM places itself (DeepGEMM, torch.compile).
    assert cache_root(environment) == Path("/cache/xdg/vllm")


def test_without_any_variable_it_is_below_the_home_folder(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "XDG_CACHE_HOME": ""}
    assert keep_together(environment) == tmp_path / ".cache"
    assert environment["FLASHINFER_WORKSPACE_BASE"] == str(tmp_path / ".cache/flashinfer")


@pytest.mark.parametrize("home", [None, "", "/nonexistent"])
def test_a_home_folder_that_cannot_be_written_is_replaced(home: str | None) -> None:
    environment = {} if home is None else {"HOME": home}
    assert keep_together(environment) == Path(tempfile.gettempdir()) / ".cache"
    assert environment["HOME"] == tempfile.gettempdir()


def test_what_the_user_set_stays(tmp_path: Path) -> None:
    theirs = {"HOME": str(tmp_path), "TRITON_CACHE_DIR": "/mine", "LOGNAME": "me"}
    environment = dict(theirs)
    keep_together(environment)
    assert {name: environment[name] for name in theirs} == theirs
    assert "USER" not in environment


def test_a_user_without_a_name_gets_one(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path)}
    keep_together(environment)
    assert environment["USER"].startswith("uid-")


def test_entries_are_copied_over_older_ones_and_others_stay(tmp_path: Path) -> None:
    known, root = tmp_path / "modelinfos", tmp_path / "cache"
    known.mkdir()
    for name in ("llama", "qwen"):
        (known / f"{name}.json").write_text("new")
    (root / "modelinfos").mkdir(parents=True)
    for name in ("llama", "own"):
        (root / f"modelinfos/{name}.json").write_text("old")
    assert give_model_infos({"VLLM_CACHE_ROOT": str(root)}, known) == 2
    found = {path.stem: path.read_text() for path in (root / "modelinfos").iterdir()}
    assert found == {"llama": "new", "qwen": "new", "own": "old"}


def test_a_folder_that_cannot_be_written_is_told_and_no_more(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    known, root = tmp_path / "modelinfos", tmp_path / "cache"
    known.mkdir()
    root.write_text("a file")
    assert give_model_infos({"VLLM_CACHE_ROOT": str(root)}, known) == 0
    assert str(root) in capfd.readouterr().err


def test_an_environment_without_them_is_left_alone(tmp_path: Path) -> None:
    assert give_model_infos({"VLLM_CACHE_ROOT": str(tmp_path / "cache")}, tmp_path / "nothing") == 0
    assert not (tmp_path / "cache").exists()
