"""The cache folder, its locks, and uv in it."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from devtools import cache
from devtools.polling import wait_for

REPO = Path(__file__).parents[2]


def test_the_folder_is_below_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/big/disk")
    assert cache.root() == Path("/big/disk/triton-vllm-operator")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.root() == Path.home() / ".cache/triton-vllm-operator"


def test_a_lock_is_held_by_one_alone_and_freed_after_an_error(tmp_path: Path) -> None:
    lock, inside, most = tmp_path / "folder" / "lock", [], []

    def work() -> None:
        with cache.locked(lock):
            inside.append(1)
            most.append(len(inside))
            threading.Event().wait(0.01)
            inside.pop()

    with pytest.raises(RuntimeError), cache.locked(lock):
        raise RuntimeError
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert most == [1] * 8


def test_a_lock_is_freed_when_its_holder_is_killed(tmp_path: Path) -> None:
    held = tmp_path / "held"
    script = (
        "import sys, time; from pathlib import Path; from devtools import cache\n"
        "with cache.locked(Path(sys.argv[1])):\n    Path(sys.argv[2]).touch(); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "lock"), str(held)], cwd=REPO)
    try:
        assert wait_for(held.exists, 30)
    finally:
        holder.kill()
        holder.wait()
    with cache.locked(tmp_path / "lock"):
        assert holder.returncode == -9


def test_a_lock_that_is_held_is_not_waited_for_with_lock_nb(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with cache.locked(lock, fcntl.LOCK_SH):
        with cache.locked(lock, fcntl.LOCK_SH | fcntl.LOCK_NB):
            pass
        with pytest.raises(BlockingIOError), cache.locked(lock, fcntl.LOCK_EX | fcntl.LOCK_NB):
            pass


def test_uv_that_is_installed_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    program = cache.root() / f"uv-{cache.UV_VERSION}" / "bin" / "uv"
    program.parent.mkdir(parents=True)
    program.touch()
    monkeypatch.setattr(subprocess, "run", lambda *args, **more: pytest.fail("uv is installed again"))
    assert cache.uv() == program


def test_uv_is_installed_with_pip_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    ran: list[list[str]] = []

    def run(command: list[str], *, check: bool) -> None:
        ran.append(command)
        if command[-1] == f"uv=={cache.UV_VERSION}":
            program = Path(command[0]).parent / "uv"
            program.parent.mkdir(parents=True)
            program.touch()

    monkeypatch.setattr(subprocess, "run", run)
    assert cache.uv() == cache.uv()
    assert [command[:3][-1] for command in ran] == ["venv", "--quiet"]


def test_the_makefile_finds_the_version_of_uv() -> None:
    makefile = (REPO / "Makefile").read_text()
    assert "devtools/cache.py" in makefile
    asked = ["make", "--silent", "--eval=show: ; @echo $(UV_VERSION)", "show"]
    done = subprocess.run(asked, cwd=REPO, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == cache.UV_VERSION
