"""The cache folder of downloads and builds, locks on files in it, and the uv that is installed there.

All checkouts on a machine share the folder. `python -m devtools.cache` installs uv and prints its path.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UV_VERSION = "0.13.9"
"""The Makefile reads this line."""


def root() -> Path:
    """Cache folder: below $XDG_CACHE_HOME, else ~/.cache. It may not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "triton-vllm-operator"


@contextmanager
def locked(path: Path, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Hold the lock file `path` in the block; other processes and threads wait. It is freed when its holder dies.

    Args:
        how: `fcntl` flags: LOCK_EX, or LOCK_SH for a lock that several can hold, and LOCK_NB.

    Raises:
        BlockingIOError: With LOCK_NB, the lock is held already.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, how)
        yield


def uv() -> Path:
    """Path of the pinned uv in the cache folder, installed with pip when missing.

    Raises:
        subprocess.CalledProcessError: The virtual environment cannot be made, or pip fails.
    """
    folder = root() / f"uv-{UV_VERSION}"
    with locked(folder.with_name(f"{folder.name}.lock")):
        program = folder / "bin" / "uv"
        if not program.exists():
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            pip = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, f"uv=={UV_VERSION}"], check=True)
    return program


if __name__ == "__main__":
    sys.stdout.write(f"{uv()}\n")
