"""What one checkout has on this machine: names, ports, networks. Recorded at the first `up`, forgotten by `down`."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from devtools import cache
from e2e.cluster import machine, settings, shell

FIRST_PORT, PORT_PAIRS = 20000, 2000
FIRST_BLOCK, BLOCKS = 16, 48
"""Networks come from blocks 10.(4n).0.0/14, n from 16: 10.64.0.0 to 10.255.255.255."""


@dataclass(frozen=True)
class State:
    """One checkout's cluster. `block` numbers its /14; `slot` is the worker's image store, empty until one is taken."""

    key: str
    checkout: str
    api_port: int
    registry_port: int
    block: int
    slot: str = ""

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
    return ipaddress.IPv4Network(f"10.{block * 4}.0.0/14")


def choose_block(key: str, routed: Collection[ipaddress.IPv4Network], taken: Collection[int]) -> int:
    """Number of a free /14 for checkout `key`: the same each time unless another has it. Unmet when none is free."""
    start = int(key, 16)
    for step in range(BLOCKS):
        block = FIRST_BLOCK + (start + step) % BLOCKS
        network = block_network(block)
        if block not in taken and not any(network.overlaps(route) for route in routed):
            return block
    raise shell.Unmet(
        "all networks from 10.64.0.0 to 10.255.255.255 are in use here: remove a route or another cluster"
    )


def choose_ports(key: str, free: Callable[[int], bool], taken: Collection[int]) -> tuple[int, int]:
    """Two free neighbouring ports for checkout `key`, the same each time unless taken. Unmet when none are free."""
    start = int(key, 16)
    for step in range(PORT_PAIRS):
        first = FIRST_PORT + 2 * ((start + step) % PORT_PAIRS)
        if not {first, first + 1} & set(taken) and free(first) and free(first + 1):
            return first, first + 1
    raise shell.Unmet(f"no two free ports from {FIRST_PORT} to {FIRST_PORT + 2 * PORT_PAIRS}: stop a server there")


def lock_file() -> Path:
    return cache.root() / "state.lock"


def load(key: str) -> State | None:
    """Recorded state of checkout `key`, if it has any."""
    file = settings.state_dir(key) / "state.json"
    return State(**json.loads(file.read_text())) if file.exists() else None


def every() -> list[State]:
    """Recorded states of all checkouts that share this cache."""
    folders = settings.state_dir("").glob("*/state.json")
    return [State(**json.loads(file.read_text())) for file in sorted(folders)]


def orphans() -> list[State]:
    """Recorded states of checkouts that are gone. Docker may have made a folder anew to mount something of it."""
    return [one for one in every() if not (Path(one.checkout) / "pyproject.toml").is_file()]


def save(state: State) -> None:
    state.folder.mkdir(parents=True, exist_ok=True)
    scratch = state.folder / "state.json.new"
    scratch.write_text(json.dumps(asdict(state), indent=2) + "\n")
    scratch.rename(state.folder / "state.json")


def claim(checkout: Path) -> State:
    """State of `checkout`, recorded now if it has none. Ports and networks of the others are left to them."""
    key = settings.checkout_key(checkout)
    with cache.locked(lock_file()):
        known = load(key)
        if known:
            return known
        state = propose(checkout)
        save(state)
        return state


def propose(checkout: Path) -> State:
    """State that `checkout` would get now, recorded or not."""
    key = settings.checkout_key(checkout)
    known = load(key)
    if known:
        return known
    others = every()
    block = choose_block(key, machine.routed_networks(), {other.block for other in others})
    taken = {port for other in others for port in (other.api_port, other.registry_port)}
    api_port, registry_port = choose_ports(key, machine.port_free, taken)
    return State(key, str(checkout.resolve()), api_port, registry_port, block)


def with_slot(state: State, slot: Path) -> State:
    changed = replace(state, slot=str(slot))
    save(changed)
    return changed
