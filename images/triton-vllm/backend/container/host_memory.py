"""What the container holds of its memory limit, read from its control group (v1 or v2)."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from backend.container.resources import read_limits
from contract.report import HostMemory

ROOT = Path("/sys/fs/cgroup")
SAMPLE_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes of a control group at one moment.

    Attributes:
        used: what the kernel cannot take back: processes, shared memory, and the kernel's own for them. Without swap,
            the container is killed when this reaches its limit.
        shared: the part of it in /dev/shm and other memory volumes.
        page_cache: contents of files, which the kernel takes back when memory is short.
    """

    used: int
    shared: int
    page_cache: int


def read_usage(root: Path = ROOT) -> Usage | None:
    """The usage of this process's control group; None where the kernel does not report it."""
    if (stat := _stat(root / "memory.stat")) and "anon" in stat:
        kernel = stat.get("kernel", stat.get("kernel_stack", 0) + stat.get("pagetables", 0) + stat.get("slab", 0))
        used = stat["anon"] + stat["shmem"] + stat.get("sock", 0) + max(kernel - stat.get("slab_reclaimable", 0), 0)
        return Usage(used, stat["shmem"], max(stat["file"] - stat["shmem"], 0))
    if (stat := _stat(root / "memory/memory.stat")) and "total_rss" in stat:
        shared = stat.get("total_shmem", 0)
        used = stat["total_rss"] + shared + _number(root / "memory/memory.kmem.usage_in_bytes")
        return Usage(used, shared, max(stat["total_cache"] - shared, 0))
    return None


class HostMeter:
    """Follows the usage from the start of the load on, in a thread until the engine is loaded."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self._load_peak: int | None = None
        self._first_token: int | None = None
        self._loaded = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="host-memory", daemon=True)
        self._thread.start()

    def loaded(self) -> None:
        """The engine is loaded: its peak stands."""
        self._loaded.set()
        self._thread.join()

    def first_token(self) -> None:
        """The engine has answered with its first token."""
        usage = read_usage(self._root)
        self._first_token = usage.used if usage is not None else None

    def report(self) -> HostMemory:
        """Return what was measured, and the usage of this moment."""
        usage = read_usage(self._root)
        return HostMemory(
            limit=read_limits(self._root).memory_bytes,
            load_peak=self._load_peak,
            first_token=self._first_token,
            current=usage.used if usage is not None else None,
            shared=usage.shared if usage is not None else None,
            page_cache=usage.page_cache if usage is not None else None,
        )

    def _sample(self) -> None:
        ended = False
        while not ended:
            ended = self._loaded.wait(SAMPLE_SECONDS)
            if (usage := read_usage(self._root)) is not None:
                self._load_peak = max(self._load_peak or 0, usage.used)


def _stat(path: Path) -> dict[str, int]:
    try:
        pairs = (line.partition(" ") for line in path.read_text().splitlines())
        return {name: int(value) for name, _, value in pairs}
    except (OSError, ValueError):
        return {}


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0
