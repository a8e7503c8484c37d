"""The Python files of a published vLLM, read from a small archive in the cache and never executed.

The archive is made once from the source distribution; a version without one (0.15.1) is read from its wheel.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from devtools import cache

BACKEND = Path(__file__).parent / "backend"
WHEEL_PLATFORM = "manylinux_2_31_x86_64"


def cache_dir() -> Path:
    return cache.root() / "vllm-sources"


@dataclass(frozen=True, slots=True)
class Sources:
    """Modules of one version by dotted name. `read` gives None for a module that vLLM does not have."""

    version: str
    archive: Path

    def read(self, module: str) -> str | None:
        base = module.replace(".", "/")
        with zipfile.ZipFile(self.archive) as opened:
            names = set(opened.namelist())
            name = next((name for name in (f"{base}.py", f"{base}/__init__.py") if name in names), None)
            return opened.read(name).decode("utf-8") if name else None

    def modules(self) -> Iterator[str]:
        """The source of every module."""
        with zipfile.ZipFile(self.archive) as opened:
            for name in opened.namelist():
                yield opened.read(name).decode("utf-8")


def cached(version: str) -> Sources | None:
    archive = cache_dir() / f"vllm-{version}.zip"
    return Sources(version, archive) if archive.exists() else None


def fetch(version: str) -> Sources:
    """Downloads what the cache lacks. Raises RuntimeError with pip's words when the registry has neither form."""
    found = cached(version)
    if found is not None:
        return found
    cache_dir().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_dir()) as folder:
        package = _download(version, Path(folder))
        packed = Path(folder) / "packed.zip"
        _pack(_python_files(package), packed)
        packed.replace(cache_dir() / f"vllm-{version}.zip")
    return Sources(version, cache_dir() / f"vllm-{version}.zip")


def _download(version: str, folder: Path) -> Path:
    source = ["--no-binary=:all:", "--no-build-isolation"]
    wheel = ["--only-binary=:all:", f"--platform={WHEEL_PLATFORM}", "--platform=manylinux1_x86_64"]
    said = ""
    for options in (source, wheel):
        done = _pip("download", "--no-deps", f"--dest={folder}", *options, f"vllm=={version}")
        if done.returncode == 0:
            return next(folder.glob("vllm-*"))
        said += done.stderr[-2000:]
    raise RuntimeError(f"pip could not download vllm {version}:\n{said}")


def _pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    pip = shutil.which("pip") or shutil.which("pip3")
    command = [pip] if pip else [sys.executable, "-m", "pip"]
    environment = os.environ | {"PYTHONPATH": str(BACKEND)}
    return subprocess.run([*command, *arguments], capture_output=True, text=True, env=environment, check=False)


def _python_files(package: Path) -> Iterator[tuple[str, bytes]]:
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as wheel:
            for name in wheel.namelist():
                if _wanted(name):
                    yield name, wheel.read(name)
        return
    with tarfile.open(package) as sdist:
        for member in sdist:
            name = member.name.partition("/")[2]
            content = sdist.extractfile(member) if member.isfile() and _wanted(name) else None
            if content is not None:
                yield name, content.read()


def _wanted(name: str) -> bool:
    return name.startswith("vllm/") and name.endswith(".py")


def _pack(files: Iterator[tuple[str, bytes]], target: Path) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(name, content)
