"""Installs packages of the distribution with apt-get, where they are missing."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from devtools import cache
from e2e.cluster import shell

DOCKER = ("docker.io", "containerd", "runc", "iptables", "iproute2")
ROOTFS = ("debootstrap",)


def missing(names: Iterable[str]) -> list[str]:
    """Those of `names` that are not installed."""
    return [name for name in names if not _installed(name)]


def _installed(name: str) -> bool:
    done = subprocess.run(
        ["dpkg-query", "-W", "-f=${Status}", name], capture_output=True, text=True, check=False, timeout=60
    )
    return done.stdout == "install ok installed"


def can_install() -> bool:
    """Whether this is a Debian system."""
    return bool(shutil.which("apt-get") and shutil.which("dpkg-query"))


def install(names: Iterable[str], log: Path) -> str:
    """Install those of `names` that are missing; CommandFailed if apt-get fails."""
    absent = missing(names)
    if not absent:
        return "already installed"
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    with cache.locked(cache.root() / "apt.lock"):
        shell.logged(["apt-get", "-o", "DPkg::Lock::Timeout=300", "update"], log, env=quiet)
        shell.logged(
            ["apt-get", "-o", "DPkg::Lock::Timeout=300", "install", "-y", "--no-install-recommends", *absent],
            log,
            env={**quiet, "RUNLEVEL": "1"},
        )
    return f"installed {', '.join(absent)}"
