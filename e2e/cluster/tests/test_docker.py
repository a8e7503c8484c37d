"""Which Docker engine is used, and how ours is started."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from devtools.polling import wait_for
from e2e.cluster.docker import daemon
from e2e.cluster.docker.daemon import Docker
from e2e.cluster.images import base_images
from e2e.cluster.machine import kernel, processes
from e2e.cluster.tests.conftest import Program


def test_an_engine_that_answers_is_used(program: Program) -> None:
    program("docker", "sys.exit(0 if sys.argv[1:] == ['info'] else 1)")
    found = daemon.find()
    assert (found.ours, found.host, found.env) == (False, "", {})
    assert found.reason == "a Docker daemon answers"


def test_the_users_own_choice_of_an_engine_is_kept(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    program("docker", "import os; sys.exit(os.environ['DOCKER_HOST'] != 'tcp://far:2375')")
    monkeypatch.setenv("DOCKER_HOST", "tcp://far:2375")
    assert daemon.find().env == {"DOCKER_HOST": "tcp://far:2375"}


@pytest.mark.parametrize("docker", [True, False])
def test_without_one_that_answers_it_is_our_own(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, docker: bool
) -> None:
    if docker:
        program("docker", "sys.exit('Cannot connect to the Docker daemon')")
    else:
        monkeypatch.setenv("PATH", str(tmp_path))
    assert daemon.find() == daemon.own()


def test_our_own_engine_is_known_by_its_socket(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    program("docker", "")
    monkeypatch.setenv("DOCKER_HOST", daemon.own().host)
    assert daemon.find().ours


def test_two_caches_have_two_engines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = daemon.run_dir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    assert daemon.run_dir() != first
    assert len(str(daemon.run_dir() / "docker.sock")) < 100  # a socket's path may have 107 bytes


@pytest.mark.parametrize("granted", [True, False])
def test_the_runtime_in_front_of_runc_is_used_only_where_it_is_needed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, granted: bool
) -> None:
    monkeypatch.setattr(kernel, "may_raise_limits", lambda: granted)
    command = daemon.daemon_command(tmp_path)
    assert f"--data-root={daemon.data_dir()}" in command
    assert f"--host=unix://{tmp_path}/docker.sock" in command
    assert ("--default-runtime=limited" in command) is not granted
    assert (tmp_path / "oci-runtime").exists() is not granted


def test_a_pull_that_hangs_counts_as_an_image_that_cannot_be_pulled(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program("docker", "import time\nif sys.argv[1] == 'pull':\n    time.sleep(60)\nsys.exit(1)")
    monkeypatch.setattr(base_images, "PULL_SECONDS", 0.5)
    assert not base_images.pullable(Docker("", ours=False, reason=""), "python:3", tmp_path / "log")


def test_proxy_settings_are_handed_to_a_build_by_name_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "http://user:secret@localhost:3128")
    assert base_images.proxy_arguments() == ["--build-arg", "https_proxy"]


def test_what_a_killed_daemon_left_running_is_ended_with_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(daemon, "run_dir", lambda: tmp_path)
    left = tmp_path / daemon.CONTAINERD_PID
    left.parent.mkdir(parents=True)
    program = tmp_path / "containerd"
    shutil.copy(shutil.which("sleep") or "", program)
    process = subprocess.Popen([str(program), "60"])
    left.write_text(str(process.pid))
    try:
        assert wait_for(lambda: processes.process_named(process.pid, "containerd"), 10)
        daemon.end_daemon()
        assert process.wait(10) == -signal.SIGTERM
        assert not left.exists()
    finally:
        process.kill()
