"""Base images of our Dockerfiles: the public ones where they can be pulled, else stand-ins from the distribution.

A stand-in carries this machine's package sources, proxy and trusted certificates, so that builds on it can install
packages. It is for local use and is never pushed on its own.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from devtools import cache
from e2e.cluster import packages, settings, shell
from e2e.cluster.engine import Engine

SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
PUBLIC_PYTHON = "python:3.11-slim-bookworm"
PULL_SECONDS = 300.0
CERTIFICATES = Path("/usr/local/share/ca-certificates")
"""Where a Debian machine keeps the authorities that it trusts besides the public ones."""
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
TRUST = dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT"), BUNDLE)


def pullable(engine: Engine, image: str, log: Path) -> bool:
    """Whether `image` is here already or can be pulled now."""
    if engine.has_image(image):
        return True
    try:
        shell.logged(["docker", "pull", "--quiet", image], log, env=engine.env, timeout=PULL_SECONDS)
    except (shell.CommandFailed, subprocess.TimeoutExpired):
        return False
    return True


def machine_files() -> dict[str, Path]:
    """Files of this machine that tell apt, pip and uv where to get packages: path in the image to path here."""
    home = Path.home()
    found = {
        "etc/pip.conf": [Path("/etc/pip.conf"), home / ".config/pip/pip.conf", home / ".pip/pip.conf"],
        "etc/uv/uv.toml": [Path("/etc/uv/uv.toml"), home / ".config/uv/uv.toml"],
        "etc/apt/sources.list": [Path("/etc/apt/sources.list")],
        "etc/apt/sources.list.d/debian.sources": [Path("/etc/apt/sources.list.d/debian.sources")],
    }
    files = {target: path for target, paths in found.items() for path in paths if path.is_file()}
    for path in sorted(CERTIFICATES.rglob("*.crt")):
        files[str(path).lstrip("/")] = path
    for path in sorted(Path("/etc/apt/apt.conf.d").glob("*")):
        if "Acquire::" in path.read_text(errors="replace"):
            files[f"etc/apt/apt.conf.d/{path.name}"] = path
    return files


def debian_name() -> str:
    """Name of the Debian stand-in; a change of this machine's files makes it another image."""
    digest = hashlib.sha256(f"{SUITE} {MIRROR}".encode())
    for target, path in sorted(machine_files().items()):
        digest.update(target.encode() + path.read_bytes())
    return f"triton-vllm-operator/debian:{SUITE}-{digest.hexdigest()[:12]}"


def debian(engine: Engine, log: Path) -> str:
    """Name of a minimal Debian image, made with debootstrap when the engine lacks it."""
    name = debian_name()
    with cache.locked(cache.root() / "debian.lock"):
        if not engine.has_image(name):
            packages.install(packages.ROOTFS, log)
            with tempfile.TemporaryDirectory(prefix="debian-", dir=cache.root()) as scratch:
                _bootstrap(engine, Path(scratch) / "root", name, log)
    return name


def _bootstrap(engine: Engine, root: Path, name: str, log: Path) -> None:
    include = "--include=ca-certificates"
    shell.logged(["debootstrap", "--variant=minbase", include, SUITE, str(root), MIRROR], log)
    _add_machine_files(root)
    shell.logged(["chroot", root, "update-ca-certificates"], log)
    _import(engine, root, name, log)


def _add_machine_files(root: Path) -> None:
    for target, path in machine_files().items():
        (root / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, root / target)
    for leftover in (*root.glob("var/cache/apt/archives/*.deb"), *root.glob("var/lib/apt/lists/*_*")):
        leftover.unlink()


def _import(engine: Engine, root: Path, name: str, log: Path) -> None:
    archive = root.with_suffix(".tar")
    shell.logged(["tar", "-C", root, "--numeric-owner", "-cf", archive, "."], log)
    changes = [word for key, value in TRUST.items() for word in ("-c", f"ENV {key}={value}")]
    shell.logged(["docker", "import", *changes, archive, name], log, env=engine.env)


def python(engine: Engine, log: Path) -> str:
    """Name of the base for Python images: the public slim image, else a stand-in with the same interpreter."""
    if pullable(engine, PUBLIC_PYTHON, log):
        return PUBLIC_PYTHON
    recipe = settings.NODE_FILES / "python.Dockerfile"
    base = debian(engine, log)
    digest = hashlib.sha256(base.encode() + recipe.read_bytes()).hexdigest()[:12]
    name = f"triton-vllm-operator/python:3.11-{SUITE}-{digest}"
    if not engine.has_image(name):
        build_args = ["--network=host", "--build-arg", f"BASE={base}"]
        with tempfile.TemporaryDirectory() as empty:
            shell.logged(["docker", "build", *build_args, "-t", name, "-f", recipe, empty], log, env=engine.env)
    return name


def proxy_arguments() -> list[str]:
    """Build arguments that hand this machine's proxy settings to a build; Docker keeps them out of the image."""
    names = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
    return [word for name in names if os.environ.get(name) for word in ("--build-arg", name)]
