"""Image stores of workers: kept between clusters, so that a new cluster does not pull gigabytes again.

An image store is a copy of the node image's /var/lib/containerd that a worker mounts. One cluster uses it at a time,
and a later one finds what an earlier one pulled. It fits one node image only.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from devtools import cache
from e2e.cluster import cluster_state, shell
from e2e.cluster.cluster_state import ClusterState
from e2e.cluster.docker.daemon import Docker

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
"""Script for a container of the node image: remove the containers of the former cluster, keep its images."""


def root() -> Path:
    """Folder of all image stores."""
    return cache.root() / "worker-images"


def image_folder(image_id: str) -> Path:
    """Folder of the image stores of one node image."""
    return root() / hashlib.sha256(image_id.encode()).hexdigest()[:12]


def take(docker: Docker, state: ClusterState, image: str, log: Path) -> ClusterState:
    """Give the cluster an image store of the node image `image`, without containers. The worker must not run."""
    folder = image_folder(docker.output("image", "inspect", "--format", "{{.Id}}", image).strip())
    with cache.locked(cluster_state.lock_file()):
        used = {other.image_store for other in cluster_state.recorded() if other.key != state.key}
        prune(folder, used)
        store = choose(folder, used, state.image_store)
        taken = cluster_state.with_image_store(state, store)
    if store.exists() and not _clean(docker, image, store, log):
        shutil.rmtree(store)
    if not store.exists():
        _fill(docker, image, store, log)
    return taken


def choose(folder: Path, used: set[str], current: str) -> Path:
    """Image store in the node image's `folder`: the current one if it is there, else the first that is not used."""
    if current and Path(current).parent == folder:
        return Path(current)
    return next(store for store in (folder / str(number) for number in range(len(used) + 1)) if str(store) not in used)


def prune(keep: Path, used: set[str]) -> None:
    """Remove the unused image stores of node images other than that of the folder `keep`."""
    for store in root().glob("*/*"):
        if store.parent != keep and str(store) not in used:
            shutil.rmtree(store)


def _clean(docker: Docker, image: str, store: Path, log: Path) -> bool:
    """Remove the containers of an image store; whether it is intact."""
    mount = f"{store}:/var/lib/containerd"
    try:
        docker.logged(
            log, "run", "--rm", "--privileged", "--network=none", "-v", mount, "--entrypoint=bash", image, "-c", CLEAN
        )
    except shell.CommandFailed:
        return False
    return True


def _fill(docker: Docker, image: str, store: Path, log: Path) -> None:
    """Copy the node image's own containerd root into a new image store."""
    scratch = store.with_name(f"{store.name}.new")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    container = docker.output("create", image).strip()
    try:
        docker.logged(log, "cp", "--archive", f"{container}:/var/lib/containerd/.", str(scratch))
    finally:
        docker.output("rm", "--volumes", container)
    scratch.rename(store)
