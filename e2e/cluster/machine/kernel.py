"""Capabilities, mounts and control groups of this machine."""

from __future__ import annotations

import re
from pathlib import Path

CAP_SYS_RESOURCE = 24


def capability_granted(bounding_set: int, capability: int) -> bool:
    return bool(bounding_set >> capability & 1)


def may_raise_limits() -> bool:
    """Whether CAP_SYS_RESOURCE is in this process's bounding set, so that privileged containers can have it."""
    found = re.search(r"^CapBnd:\s*([0-9a-f]+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    return found is None or capability_granted(int(found[1], 16), CAP_SYS_RESOURCE)


def mounts_below(folder: Path) -> list[str]:
    """Mount points in or below `folder`, innermost first."""
    return mount_points(Path("/proc/self/mountinfo").read_text(), folder)


def mount_points(mountinfo: str, folder: Path) -> list[str]:
    """Those of the text of a mountinfo file that are in or below `folder`, innermost first."""
    # The kernel writes a space, tab, newline or backslash of a path as three octal digits.
    points = [re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), line.split()[4]) for line in mountinfo.splitlines()]
    return sorted((p for p in points if p == str(folder) or p.startswith(f"{folder}/")), key=len, reverse=True)


def remove_empty_cgroups(name: str) -> None:
    """Remove the control groups `/name` of every hierarchy, if nothing lives in them."""
    roots = [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*")]
    for group in (root / name for root in roots if (root / name).is_dir()):
        for folder in sorted((p for p in group.rglob("*") if p.is_dir()), key=lambda p: len(p.parts), reverse=True):
            _rmdir(folder)
        _rmdir(group)


def _rmdir(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return  # in use, or gone: not ours to force
