"""Base images of our Dockerfiles: the public ones where they can be pulled, else substitutes made with debootstrap.

A substitute has this machine's package sources, proxy and trusted certificates, so that builds on it can install
packages. It is for local use and is never pushed by itself.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from devtools import cache
from e2e.cluster import settings, shell
from e2e.cluster.docker.daemon import Docker
from e2e.cluster.machine import packages

SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
PUBLIC_PYTHON = "python:3.11-slim-bookworm"
PULL_SECONDS = 300.0
CERTIFICATES = Path("/usr/local/share/ca-certificates")
"""Certificate authorities that a Debian machine trusts in addition to the public ones."""
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
TRUST = dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT"), BUNDLE)


def pullable(docker: Docker, image: str, log: Path) -> bool:
    """Whether the daemon has `image`, or can pull it."""
    if docker.has_image(image):
        return True
    try:
        shell.logged(["docker", "pull", "--quiet", image], log, env=docker.env, timeout=PULL_SECONDS)
    except (shell.CommandFailed, subprocess.TimeoutExpired):
        return False
    return True


def package_sources() -> dict[str, Path]:
    """Files that configure the package sources of apt, pip and uv: path on this machine by path in the image."""
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
    """Name of the Debian substitute, with a hash of this machine's files in it."""
    digest = hashlib.sha256(f"{SUITE} {MIRROR}".encode())
    for target, path in sorted(package_sources().items()):
        digest.update(target.encode() + path.read_bytes())
    return f"triton-vllm-operator/debian:{SUITE}-{digest.hexdigest()[:12]}"


def debian(docker: Docker, log: Path) -> str:
    """Name of a minimal Debian image, made with debootstrap if the daemon does not have it."""
    name = debian_name()
    with cache.locked(cache.root() / "debian.lock"):
        if not docker.has_image(name):
            packages.install(packages.ROOTFS, log)
            with tempfile.TemporaryDirectory(prefix="debian-", dir=cache.root()) as scratch:
                _bootstrap(docker, Path(scratch) / "root", name, log)
    return name


def _bootstrap(docker: Docker, root: Path, name: str, log: Path) -> None:
    include = "--include=ca-certificates"
    shell.logged(["debootstrap", "--variant=minbase", include, SUITE, str(root), MIRROR], log)
    _add_package_sources(root)
    shell.logged(["chroot", root, "update-ca-certificates"], log)
    _import(docker, root, name, log)


def _add_package_sources(root: Path) -> None:
    for target, path in package_sources().items():
        (root / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, root / target)
    for leftover in (*root.glob("var/cache/apt/archives/*.deb"), *root.glob("var/lib/apt/lists/*_*")):
        leftover.unlink()


def _import(docker: Docker, root: Path, name: str, log: Path) -> None:
    archive = root.with_suffix(".tar")
    shell.logged(["tar", "-C", root, "--numeric-owner", "-cf", archive, "."], log)
    changes = [word for key, value in TRUST.items() for word in ("-c", f"ENV {key}={value}")]
    shell.logged(["docker", "import", *changes, archive, name], log, env=docker.env)


def python(docker: Docker, log: Path) -> str:
    """Name of the base for Python images: the public slim image, else a substitute with the same interpreter."""
    if pullable(docker, PUBLIC_PYTHON, log):
        return PUBLIC_PYTHON
    recipe = settings.NODE_FILES / "python.Dockerfile"
    base = debian(docker, log)
    digest = hashlib.sha256(base.encode() + recipe.read_bytes()).hexdigest()[:12]
    name = f"triton-vllm-operator/python:3.11-{SUITE}-{digest}"
    if not docker.has_image(name):
        build_args = ["--network=host", "--build-arg", f"BASE={base}"]
        with tempfile.TemporaryDirectory() as empty:
            shell.logged(["docker", "build", *build_args, "-t", name, "-f", recipe, empty], log, env=docker.env)
    return name


def proxy_arguments() -> list[str]:
    """Build arguments that pass this machine's proxy settings to a build; Docker keeps them out of the image."""
    names = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
    return [word for name in names if os.environ.get(name) for word in ("--build-arg", name)]
