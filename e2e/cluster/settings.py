"""Paths and constants of the cluster.

Downloads and builds are in the cache folder, and all checkouts share them. The state of a cluster (names, ports,
subnets, kubeconfig, logs) is keyed by the checkout's path, so that two checkouts never conflict.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from devtools import cache

REPO = Path(__file__).resolve().parents[2]
NODE_FILES = REPO / "e2e" / "node"

KUBERNETES = "1.34.4"
GPUS_PER_NODE = {"control-plane": 2, "worker": 8}
"""Advertised `nvidia.com/gpu`. The control plane is tainted, so ordinary pods can get the worker's 8 only."""


def checkout_key(checkout: Path) -> str:
    """Hash of the checkout's path, in eight hexadecimal digits."""
    return hashlib.sha256(str(checkout.resolve()).encode()).hexdigest()[:8]


def state_dir(key: str) -> Path:
    """Folder with the state of the checkout `key`."""
    return cache.root() / "state" / key
