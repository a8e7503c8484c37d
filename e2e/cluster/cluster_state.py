"""Names, ports and networks of a checkout's cluster: recorded in the cache folder by `up`, removed by `down`."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from devtools import cache
from e2e.cluster import settings, shell
from e2e.cluster.machine import networks

FIRST_PORT, PORT_PAIRS = 20000, 2000
FIRST_BLOCK, BLOCKS = 16, 48
"""Networks come from blocks 10.(4n).0.0/14, n from 16: 10.64.0.0 to 10.255.255.255."""


@dataclass(frozen=True)
class ClusterState:
    """A checkout's cluster. `block` is the number of its /14; `image_store` is empty until the worker has one."""

    key: str
    checkout: str
    api_port: int
    registry_port: int
    block: int
    image_store: str = ""

    @property
    def name(self) -> str:
        """Name of the kind cluster, of its Docker network and of its bridge."""
        return f"llm-{self.key}"

    @property
    def control_plane(self) -> str:
        return f"{self.name}-control-plane"

    @property
    def worker(self) -> str:
        return f"{self.name}-worker"

    @property
    def registry_container(self) -> str:
        return f"{self.name}-registry"

    @property
    def registry(self) -> str:
        """Prefix of image names that both this machine and the nodes understand."""
        return f"localhost:{self.registry_port}"

    @property
    def folder(self) -> Path:
        return settings.state_dir(self.key)

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def logs(self) -> Path:
        return cache.root() / "logs" / self.key

    @property
    def pod_subnet(self) -> str:
        return f"10.{self.block * 4}.0.0/16"

    @property
    def service_subnet(self) -> str:
        return f"10.{self.block * 4 + 1}.0.0/16"

    @property
    def node_subnet(self) -> str:
        return f"10.{self.block * 4 + 2}.0.0/24"


def block_network(block: int) -> ipaddress.IPv4Network:
    """The /14 with this number."""
    return ipaddress.IPv4Network(f"10.{block * 4}.0.0/14")


def choose_block(key: str, routed: Collection[ipaddress.IPv4Network], taken: Collection[int]) -> int:
    """Number of a free /14 for a checkout: the same each time unless it is taken.

    Raises:
        RequirementNotMet: All networks are in use.
    """
    start = int(key, 16)
    for step in range(BLOCKS):
        block = FIRST_BLOCK + (start + step) % BLOCKS
        network = block_network(block)
        if block not in taken and not any(network.overlaps(route) for route in routed):
            return block
    raise shell.RequirementNotMet(
        "all networks from 10.64.0.0 to 10.255.255.255 are in use: remove a route or another cluster"
    )


def choose_ports(key: str, free: Callable[[int], bool], taken: Collection[int]) -> tuple[int, int]:
    """Two free neighbouring ports for a checkout: the same each time unless one is taken.

    Raises:
        RequirementNotMet: No two ports are free.
    """
    start = int(key, 16)
    for step in range(PORT_PAIRS):
        first = FIRST_PORT + 2 * ((start + step) % PORT_PAIRS)
        if not {first, first + 1} & set(taken) and free(first) and free(first + 1):
            return first, first + 1
    ports = f"{FIRST_PORT} to {FIRST_PORT + 2 * PORT_PAIRS}"
    raise shell.RequirementNotMet(f"no two neighbouring ports from {ports} are free: stop a server there")


def lock_file() -> Path:
    """Lock of all recorded states."""
    return cache.root() / "state.lock"


def load(key: str) -> ClusterState | None:
    """Recorded state of a checkout's cluster; None if it has none."""
    file = _file(key)
    return _read(file) if file.exists() else None


def _file(key: str) -> Path:
    return settings.state_dir(key) / "state.json"


def _read(file: Path) -> ClusterState:
    recorded = json.loads(file.read_text())
    return ClusterState(image_store=recorded.pop("slot", ""), **recorded)


def recorded() -> list[ClusterState]:
    """Recorded states of all checkouts that share the cache folder."""
    return [_read(file) for file in sorted(settings.state_dir("").glob("*/state.json"))]


def orphans() -> list[ClusterState]:
    """Recorded states of checkouts that are gone. Their folder may exist: Docker makes one to mount a file of it."""
    return [one for one in recorded() if not (Path(one.checkout) / "pyproject.toml").is_file()]


def save(state: ClusterState) -> None:
    """Record a state. The file calls the image store `slot`, as checkouts of older versions read it."""
    state.folder.mkdir(parents=True, exist_ok=True)
    fields = asdict(state)
    fields["slot"] = fields.pop("image_store")
    scratch = _file(state.key).with_suffix(".new")
    scratch.write_text(json.dumps(fields, indent=2) + "\n")
    scratch.rename(_file(state.key))


def claim(checkout: Path) -> ClusterState:
    """State of the checkout's cluster, recorded now if it has none. Ports and networks of recorded ones are taken."""
    key = settings.checkout_key(checkout)
    with cache.locked(lock_file()):
        known = load(key)
        if known:
            return known
        state = propose(checkout)
        save(state)
        return state


def propose(checkout: Path) -> ClusterState:
    """State that the checkout's cluster has, or would get now."""
    key = settings.checkout_key(checkout)
    known = load(key)
    if known:
        return known
    others = recorded()
    block = choose_block(key, networks.routed_networks(), {other.block for other in others})
    taken = {port for other in others for port in (other.api_port, other.registry_port)}
    api_port, registry_port = choose_ports(key, networks.port_free, taken)
    return ClusterState(key, str(checkout.resolve()), api_port, registry_port, block)


def with_image_store(state: ClusterState, image_store: Path) -> ClusterState:
    """The state with the worker's image store, recorded."""
    changed = replace(state, image_store=str(image_store))
    save(changed)
    return changed
