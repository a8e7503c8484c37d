"""The table of NVIDIA GPUs: data/gpus.json."""

from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

from triton_vllm_operator.catalog import loader


@dataclass(frozen=True, slots=True)
class Card:
    """One GPU product.

    Attributes:
        product: as GPU feature discovery writes it into the label `nvidia.com/gpu.product`.
        memory_mib: total memory as the driver (nvidia-smi) reports it, in MiB.
        compute_capability: (9, 0) for 9.0.
        driver_floor: first driver branch that supports the card.
        cuda_total_mib: total memory as the CUDA runtime reports it, in MiB; None where no log has shown it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = loader.SNAKE

    product: str
    memory_mib: int
    compute_capability: tuple[int, int]
    driver_floor: int
    cuda_total_mib: int | None = None


@dataclass(frozen=True, slots=True)
class GPUTable:
    """The data file.

    Attributes:
        usable_share: share of `memory_mib` that CUDA is taken to report where no log has shown it.
        classes: the products.
        mig_profile_mib: memory of a MIG profile such as `3g.40gb`, in MiB.
    """

    __pydantic_config__: ClassVar[ConfigDict] = loader.SNAKE

    about: str
    usable_share: float
    classes: tuple[Card, ...]
    mig_profile_mib: dict[str, int]


def gpu_table() -> GPUTable:
    """Return the table; it is read once."""
    return loader.load_json("gpus.json", GPUTable, package="triton_vllm_operator.capacity")
