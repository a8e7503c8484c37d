"""Environments of clients, built on first use in the cache folder, under the hash of their pinned requirements.

`python -m clients.environments lock` writes the pinned files again, with the newest versions.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

from devtools import cache

HERE = Path(__file__).resolve().parent
REQUIREMENTS, PROGRAMS, NODE = HERE / "requirements", HERE / "programs", HERE / "node"
PYTHON = "3.11"
# Clients that need a newer one.
PYTHONS = {"inference-perf": "3.12"}
BUILD_SECONDS = 1800


def python_clients() -> list[str]:
    """Names of the clients for Python."""
    return sorted(file.stem for file in REQUIREMENTS.glob("*.txt"))


def ensure_python(name: str) -> Path:
    """The folder of programs of a client's environment; builds the environment when it is not there yet.

    Raises:
        subprocess.CalledProcessError: a package cannot be installed.
    """
    file = REQUIREMENTS / f"{name}.txt"
    folder = _folder(name, file)
    with cache.locked(folder.with_suffix(".lock")):
        if not (folder / ".complete").exists():
            uv = str(cache.uv())
            _run([uv, "venv", "--quiet", "--clear", "--python", PYTHONS.get(name, PYTHON), str(folder)])
            install = [uv, "pip", "install", "--quiet", "--no-deps", "--python", str(folder / "bin/python")]
            _run([*install, "-r", str(file)])
            (folder / ".complete").touch()
    return folder / "bin"


def python_is_available(name: str) -> bool:
    """Whether a client's version of Python is on this host: uv finds it, or has installed it."""
    command = [str(cache.uv()), "python", "find", "--quiet", "--no-python-downloads", PYTHONS.get(name, PYTHON)]
    return subprocess.run(command, check=False, timeout=60, stdout=subprocess.DEVNULL).returncode == 0


def ensure_node() -> Path:
    """The folder with the packages of the clients for Node.js; installs them when they are not there yet.

    Raises:
        subprocess.CalledProcessError: a package cannot be installed.
    """
    folder = _folder("node", NODE / "package-lock.json")
    with cache.locked(folder.with_suffix(".lock")):
        if not (folder / ".complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(NODE, folder)
            _run(["npm", "ci", "--silent", "--prefix", str(folder)])
            (folder / ".complete").touch()
    return folder


def version(name: str, package: str) -> str:
    """The pinned version of a package in a client's requirements."""
    found = re.search(rf"^{re.escape(package)}==(\S+)", (REQUIREMENTS / f"{name}.txt").read_text(), re.MULTILINE)
    if found is None:
        raise LookupError(f"{name}.txt does not pin {package}")
    return found[1]


def lock(name: str) -> None:
    """Write the pinned file of a client, with the newest versions; of torch the engine's, which is in the cache."""
    command = [str(cache.uv()), "pip", "compile", "--quiet", "--upgrade", "--no-annotate", "--no-header"]
    command += [
        "--python-version",
        PYTHONS.get(name, PYTHON),
        "--constraint",
        str(HERE.parent / "requirements/cpu/torch.txt"),
    ]
    _run([*command, str(REQUIREMENTS / f"{name}.in"), "--output-file", str(REQUIREMENTS / f"{name}.txt")])


def _folder(name: str, file: Path) -> Path:
    digest = hashlib.sha256(PYTHON.encode() + file.read_bytes()).hexdigest()[:12]
    return cache.root() / f"client-{name}-{digest}"


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, timeout=BUILD_SECONDS, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    for each in sys.argv[2:] or python_clients():
        lock(each)
