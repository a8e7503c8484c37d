"""MIG slices (Multi-Instance GPU): the profile in a product's name, and its memory."""

import re
from typing import Final

from triton_vllm_operator.capacity.gpus.table import gpu_table

_PROFILE: Final = re.compile(r"\dg\.(\d+)gb")
_MIB_PER_GB: Final = 954
"""MiB of a nominal GB, of 10**9 bytes."""


def slice_memory_mib(product: str) -> int | None:
    """Return the memory in MiB of the MIG slice that a product names; None for a product that names no profile.

    The memory of a profile that the table does not have is taken from its name: 40 GB for `3g.40gb`.
    """
    profile = _PROFILE.search(product)
    if profile is None:
        return None
    return gpu_table().mig_profile_mib.get(profile.group(0), int(profile.group(1)) * _MIB_PER_GB)


def is_slice(product: str) -> bool:
    """Return whether a product is a MIG slice, as GPU feature discovery names one."""
    return "MIG" in product


def card_of(product: str) -> str:
    """Return the product of the whole card of a MIG slice; that of a whole card is itself."""
    return product.split("-MIG")[0]


def slice_product(card: str, profile: str) -> str:
    """Return the product of a MIG slice, as GPU feature discovery names it."""
    return f"{card}-MIG-{profile}"


def slice_resource(profile: str) -> str:
    """Return the extended resource of a MIG profile, as NVIDIA's device plugin names it."""
    return f"nvidia.com/mig-{profile.replace('+', '.')}"
