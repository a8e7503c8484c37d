"""Image stores of workers, kept between clusters, so that a new cluster need not pull gigabytes again.

A slot is a copy of the node image's /var/lib/containerd that a worker mounts. One cluster uses it at a time; a
cluster that starts later takes over what an earlier one pulled. A slot fits one node image only.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from devtools import cache
from e2e.cluster import shell, state
from e2e.cluster.engine import Engine
from e2e.cluster.state import State

CLEAN = """
set -eu
containerd > /tmp/containerd.log 2>&1 &
daemon=$!
for attempt in $(seq 100); do ctr version > /dev/null 2>&1 && break; sleep 0.1; done
for name in $(ctr -n k8s.io containers ls -q); do ctr -n k8s.io containers rm "$name"; done
images=$(ctr -n k8s.io images ls -q | wc -l)
kill $daemon
wait $daemon || true
test "$images" -gt 0
"""
"""Run in the node image: forget the containers of the cluster that used the slot, keep the images."""


def root() -> Path:
    return cache.root() / "worker-images"


def image_folder(image_id: str) -> Path:
    return root() / hashlib.sha256(image_id.encode()).hexdigest()[:12]


def take(engine: Engine, mine: State, image: str, log: Path) -> State:
    """Give `mine` a slot for node image `image`, cleaned of what a former cluster left. The worker must not run."""
    folder = image_folder(engine.docker("image", "inspect", "--format", "{{.Id}}", image).strip())
    with cache.locked(state.lock_file()):
        used = {other.slot for other in state.every() if other.key != mine.key}
        prune(folder, used)
        slot = choose(folder, used, mine.slot)
        taken = state.with_slot(mine, slot)
    if slot.exists() and not _cleaned(engine, image, slot, log):
        shutil.rmtree(slot)
    if not slot.exists():
        _fill(engine, image, slot, log)
    return taken


def choose(folder: Path, used: set[str], current: str) -> Path:
    """Slot in the node image's `folder`: the current one where it fits, else the first that no other cluster uses."""
    if current and Path(current).parent == folder:
        return Path(current)
    return next(slot for slot in (folder / str(number) for number in range(len(used) + 1)) if str(slot) not in used)


def prune(keep: Path, used: set[str]) -> None:
    """Remove unused slots of other node images than that of the folder `keep`."""
    for slot in root().glob("*/*"):
        if slot.parent != keep and str(slot) not in used:
            shutil.rmtree(slot)


def _cleaned(engine: Engine, image: str, slot: Path, log: Path) -> bool:
    mount = f"{slot}:/var/lib/containerd"
    try:
        engine.logged(
            log, "run", "--rm", "--privileged", "--network=none", "-v", mount, "--entrypoint=bash", image, "-c", CLEAN
        )
    except shell.CommandFailed:
        return False
    return True


def _fill(engine: Engine, image: str, slot: Path, log: Path) -> None:
    """Copy the node image's own containerd root into a new slot."""
    scratch = slot.with_name(f"{slot.name}.new")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    container = engine.docker("create", image).strip()
    try:
        engine.logged(log, "cp", "--archive", f"{container}:/var/lib/containerd/.", str(scratch))
    finally:
        engine.docker("rm", "--volumes", container)
    scratch.rename(slot)
