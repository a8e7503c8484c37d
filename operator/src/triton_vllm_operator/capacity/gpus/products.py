"""GPU classes, from a product name, an amount of memory, or what NVIDIA's software reports of a card."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.capacity.errors import ShapeError
from triton_vllm_operator.capacity.gpus import mig
from triton_vllm_operator.capacity.gpus.table import Card, gpu_table

MIB: Final = 1024 * 1024
_DEFAULT_CAPABILITY: Final = (8, 0)
_SAME_CARD_MIB: Final = 1024
"""Two figures of the driver that differ by less than this are of the same card."""
_LARGEST_GIB: Final = 4096


@dataclass(frozen=True, slots=True)
class GPUClass:
    """GPUs of one kind, alike for the planner.

    Attributes:
        product: as GPU feature discovery names it, or a description where it is not known.
        memory_bytes: total memory as the CUDA runtime reports it; the engine takes its share of that.
        compute_capability: (9, 0) for 9.0.
        driver: numbers of the oldest driver under such a GPU; () where it is not known.
        count: GPUs of the kind in the cluster.
        per_node: GPUs of the kind on the node with the most of them.
        driver_floor: first driver branch that supports the card; 0 where it is not known.
    """

    product: str
    memory_bytes: int
    compute_capability: tuple[int, int] = _DEFAULT_CAPABILITY
    driver: tuple[int, ...] = ()
    count: int = 0
    per_node: int = 0
    driver_floor: int = 0

    @property
    def driver_version(self) -> str:
        """The oldest driver as NVIDIA writes it; "" where it is not known."""
        first, *rest = self.driver or ("",)
        return ".".join([str(first), *(f"{part:02d}" for part in rest if isinstance(part, int))])

    @property
    def memory_gib(self) -> float:
        """Total memory in GiB."""
        return self.memory_bytes / 2**30


def gpu_by_product(product: str) -> GPUClass:
    """Return the class of a product (`NVIDIA-L40S`, `H100 80GB HBM3`, `A100-SXM4-80GB-MIG-3g.40gb`).

    Raises:
        ShapeError: the product is not in the table, or could be several of it.
    """
    card = _find_card(_normalized(mig.card_of(product)))
    if card is None:
        raise ShapeError(
            Reason.GPU_PRODUCT_UNKNOWN,
            f"GPU product {product[:80]!r} is not in the table; give its memory in GiB instead",
        )
    slice_mib = mig.slice_memory_mib(product)
    memory = _cuda_bytes(card.memory_mib, card) if slice_mib is None else slice_mib * MIB
    return GPUClass(product, memory, card.compute_capability, driver_floor=card.driver_floor)


def gpu_of_memory(memory_gib: float, compute_capability: tuple[int, int] = _DEFAULT_CAPABILITY) -> GPUClass:
    """Return a class known only by its memory, as `resources.gpu.memoryGiB` or `--gpu-memory-gib` give it.

    Raises:
        ShapeError: the memory is not that of a card.
    """
    if not 0 < memory_gib <= _LARGEST_GIB:
        raise ShapeError(
            Reason.GPU_MEMORY_INVALID, f"GPU memory of {memory_gib} GiB is not between 0 and {_LARGEST_GIB}"
        )
    return GPUClass(f"{memory_gib:g}GiB GPU", int(memory_gib * 2**30), compute_capability)


def gpu_of_card(
    product: str, memory_mib: int, capability: tuple[int, int] | None, driver: tuple[int, ...], count: int
) -> GPUClass | None:
    """Return the class of `count` GPUs as NVIDIA's software reports them; None where their memory is not known.

    Args:
        product: as GPU feature discovery names it; "" where it is not known.
        memory_mib: as the driver reports it; 0 where it does not, and the table is asked instead.
        capability: compute capability; None where it is not reported.
        driver: numbers of the driver's version; () where it is not known.
        count: number of GPUs, all on one node.
    """
    known = _by_product_or_none(product)
    memory = _cuda_bytes(memory_mib, _whole_card(product)) if memory_mib else (known.memory_bytes if known else 0)
    if not memory:
        return None
    return GPUClass(
        product=product or f"{memory / 2**30:.0f}GiB GPU",
        memory_bytes=memory,
        compute_capability=capability or (known.compute_capability if known else _DEFAULT_CAPABILITY),
        driver=driver,
        count=count,
        per_node=count,
        driver_floor=known.driver_floor if known else 0,
    )


def _normalized(product: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", product.lower()).strip("-").removeprefix("nvidia-").removesuffix("-shared")


def _cuda_bytes(memory_mib: int, card: Card | None) -> int:
    """Return the bytes that CUDA reports of a card of which the driver reports `memory_mib`, which are fewer."""
    seen = card.cuda_total_mib if card is not None else None
    if card is not None and seen is not None and abs(memory_mib - card.memory_mib) < _SAME_CARD_MIB:
        return seen * MIB
    return int(memory_mib * MIB * gpu_table().usable_share)


@lru_cache(maxsize=256)  # a cluster has few products and many nodes
def _find_card(normalized: str) -> Card | None:
    cards = gpu_table().classes
    exact = [card for card in cards if _normalized(card.product) == normalized]
    if exact:
        return exact[0]
    words = set(normalized.split("-"))
    near = [card for card in cards if words <= set(_normalized(card.product).split("-"))]
    if len({card.memory_mib for card in near}) > 1:
        names = ", ".join(card.product for card in near)
        raise ShapeError(
            Reason.GPU_PRODUCT_AMBIGUOUS, f"GPU product {normalized[:80]!r} could be {names}: name one of them"
        )
    return near[0] if near else None


def _whole_card(product: str) -> Card | None:
    """Return the table's card of a label's product; None for a slice, and for what the table does not name clearly."""
    if not product or mig.is_slice(product):
        return None
    try:
        return _find_card(_normalized(product))
    except ShapeError:
        return None


def _by_product_or_none(product: str) -> GPUClass | None:
    try:
        return gpu_by_product(product) if product else None
    except ShapeError:
        return None
