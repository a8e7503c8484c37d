"""No file belongs to two distributions, and each is as its distribution brought it."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

# Where two distributions hold different files in one place and it does no harm, with the reason.
SHARED = {"build_backend.py": "what two packages are built with, left beside them; nothing imports it"}
# Files that are not as their distribution says, with the reason.
NOT_AS_RECORDED = {
    f"PyNvVideoCodec/PyNvVideoCodec_{cuda}.cpython-311-x86_64-linux-gnu.so": "changed by its makers after they counted"
    for cuda in ("121", "130")
}


def records(packages: Path) -> dict[str, dict[str, tuple[str, str]]]:
    """(hash, size in bytes) of each file, per distribution; without bytecode and scripts, which are made here."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for record in sorted(packages.glob("*.dist-info/RECORD")):
        with record.open(newline="") as lines:
            files = {row[0]: (row[1], row[2]) for row in csv.reader(lines) if row and not _made_here(row[0])}
        found[record.parent.name.removesuffix(".dist-info")] = files
    return found


def _made_here(path: str) -> bool:
    # What is outside (scripts) has the interpreter's path in it.
    return path.startswith(("..", "/")) or path.endswith(".pyc") or ".dist-info/" in path


def collisions(packages: Path) -> Iterator[str]:
    """Paths at which two distributions have different files: which of them is there depends on who came last."""
    owners: dict[str, dict[str, str]] = defaultdict(dict)
    for distribution, files in records(packages).items():
        for path, (digest, _) in files.items():
            owners[path][distribution] = digest
    for path, digests in sorted(owners.items()):
        different = len(set(digests.values())) > 1
        if different and path not in SHARED:
            who = " and ".join(sorted(digests))
            yield f"{path} is a file of {who}: leave one of them out (requirements/overrides.txt)"
        if not different and path in SHARED:
            yield f"{path} is in SHARED and belongs to one distribution only: remove it from SHARED"


def changed(packages: Path, *, complete: bool) -> Iterator[str]:
    """Files that are not as long as the distribution's; with `complete`, also those that are missing.

    A distribution that is gone may have left its file over another's, or have taken another's with it.
    """
    for distribution, files in records(packages).items():
        for path, (_, size) in sorted(files.items()):
            if not size.isdecimal() or path in SHARED:
                continue
            length = _length(packages / path)
            if length is None and complete:
                yield f"{path} of {distribution} is missing: install {distribution} again"
            if length is None:
                continue
            if length == int(size) and path in NOT_AS_RECORDED:
                yield f"{path} is as {distribution} says: remove it from NOT_AS_RECORDED"
            if length != int(size) and path not in NOT_AS_RECORDED:
                yield f"{path} has {length} bytes, that of {distribution} has {size}: install {distribution} again"


def _length(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
