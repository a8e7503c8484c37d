"""Each patch of vLLM says what it changes and why, and fits the installed packages: an upgrade that moves it fails.

Sources are read and nothing is imported, so the modules that need a GPU are covered on a CPU as well.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import pytest

import env as engine_env
from backend import patches
from backend.patches.upstream import Target, Upstream
from imagecheck.parts import upstream_of_patches
from testing.server import pinned_engine

HELPERS = {"upstream", "replace"}
PATCHES = sorted({module.name for module in pkgutil.iter_modules(patches.__path__)} - HELPERS)
UPSTREAM = upstream_of_patches()


@pytest.mark.parametrize("name", PATCHES)
def test_a_patch_says_what_it_changes_and_why(name: str) -> None:
    text = importlib.import_module(f"backend.patches.{name}").__doc__ or ""
    assert "\n\nChanges: " in text
    assert "\n\nWhy: " in text


def test_every_patch_says_what_it_relies_on() -> None:
    others = {"backend.openai.client_errors", "backend.openai.media"}
    assert {f"backend.patches.{name}" for name in PATCHES} | others == set(UPSTREAM)


@pytest.mark.engine
@pytest.mark.parametrize("variant", ["cpu", "cpu-previous"])
@pytest.mark.parametrize("name", sorted(UPSTREAM))
def test_a_patch_fits_the_installed_packages(name: str, variant: str) -> None:
    python = engine_env.ensure(variant)
    packages = next((python.parent.parent / "lib").glob("python3*/site-packages"))
    assert UPSTREAM[name].problems(packages, pinned_engine(variant)) == []


MODULE = """
import os
from elsewhere import borrowed

LIMIT: int = 3

class Client:
    socket: object = None

    async def receive(self, copy=True, *, timeout):
        while True:
            return await   self.socket.receive( copy=copy )

def start(worker, /):
    return worker
"""


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine/__init__.py").write_text("")
    (tmp_path / "engine/core.py").write_text(MODULE)
    return tmp_path


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        (Target("engine"), None),
        (Target("engine.core", "borrowed"), None),
        (Target("engine.core", "LIMIT"), None),
        (Target("engine.core", "Client.socket"), None),
        (Target("engine.core", "Client.receive", ("copy", "timeout")), None),
        (Target("engine.core", "start", ("worker",)), None),
        (Target("engine.core", "Client.receive", source=("return await self.socket.receive(copy=copy)",)), None),
        (Target("engine.other"), "module engine.other not found"),
        (Target("engine.core", "Client.send"), "engine.core does not define Client.send"),
        (Target("engine.core", "Client.receive", ("size",)), "engine.core.Client.receive has no parameter 'size'"),
        (
            Target("engine.core", "Client.receive", source=("self.queue.get()",)),
            "engine.core.Client.receive no longer contains: self.queue.get()",
        ),
    ],
)
def test_what_a_target_lacks_is_found(packages: Path, target: Target, problem: str | None) -> None:
    assert list(target.problems(packages)) == ([] if problem is None else [problem])


def test_a_version_that_was_not_checked_is_a_problem(packages: Path) -> None:
    upstream = Upstream((Target("engine.core"),), versions=("0.31.*",))
    assert upstream.problems(packages, "0.31.2") == []
    assert upstream.problems(packages, "0.33.0") == ["not checked with vLLM 0.33.0, only with 0.31.*"]
