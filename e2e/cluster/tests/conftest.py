"""A cache folder, a checkout and programs of the test's own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.cluster.cluster_state import ClusterState

Program = Callable[[str, str], Path]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder, empty. The real one is never touched."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    return tmp_path / "cache" / "triton-vllm-operator"


@pytest.fixture
def state(tmp_path: Path) -> ClusterState:
    """State of a checkout, not recorded."""
    return ClusterState(
        "0123abcd", str(tmp_path), api_port=20000, registry_port=20001, block=16, image_store="/stores/0"
    )


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Puts a Python program of a given name and text first on the PATH; its path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def write(name: str, text: str) -> Path:
        path = folder / name
        path.write_text(f"#!{sys.executable} -IS\nimport sys\n{text}")
        path.chmod(0o755)
        return path

    return write
