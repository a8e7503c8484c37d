"""Tensor names, dtypes and shapes from safetensors headers, without the tensors.

Format: 8 bytes little-endian header length, then that many bytes of JSON (name -> dtype, shape, data_offsets).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.capacity.dtypes import SAFETENSORS_BITS
from triton_vllm_operator.capacity.errors import ShapeError
from triton_vllm_operator.capacity.model.json_reader import MAX_DIMENSION, lfs_problem, parse_json_object

#: Largest header that is read. The format itself allows 100 MB; real shards stay under 10 MB.
MAX_HEADER_BYTES = 16 * 1024 * 1024
MAX_TENSORS = 2_000_000
MAX_RANK = 8


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One stored tensor: its name, safetensors dtype name (such as `BF16`) and shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of the tensor's data."""
        return prod(self.shape) * SAFETENSORS_BITS[self.dtype] // 8


def header_length(first_bytes: bytes) -> int:
    """Length in bytes of the JSON header, from the file's first 8 bytes."""
    if len(first_bytes) < 8:
        raise ShapeError(Reason.SAFETENSORS_TRUNCATED, "the safetensors file ends before its 8-byte header length")
    if pointer := lfs_problem(first_bytes, "the safetensors file"):
        raise ShapeError(Reason.SAFETENSORS_HEADER_INVALID, pointer)
    length = int.from_bytes(first_bytes[:8], "little")
    if not 2 <= length <= MAX_HEADER_BYTES:
        raise ShapeError(
            Reason.SAFETENSORS_HEADER_INVALID,
            f"the safetensors header claims {length} bytes; 2 to {MAX_HEADER_BYTES} are accepted",
        )
    return length


def parse_header(data: bytes, *, what: str = "safetensors header") -> tuple[TensorInfo, ...]:
    """Tensors described by a safetensors file's beginning (length prefix and JSON header).

    Raises `ShapeError` for a truncated or malformed header.
    """
    length = header_length(data)
    if len(data) < 8 + length:
        raise ShapeError(
            Reason.SAFETENSORS_TRUNCATED,
            f"{what}: {len(data) - 8} of {length} header bytes are there; download it again",
        )
    entries = parse_json_object(data[8 : 8 + length], what)
    return tuple(_tensor(name, entry, what) for name, entry in entries.items() if name != "__metadata__")


def _tensor(name: str, entry: Any, what: str) -> TensorInfo:
    if not isinstance(entry, Mapping):
        raise ShapeError(
            Reason.SAFETENSORS_HEADER_INVALID, f"{what}: tensor {name[:80]!r} is not described by an object"
        )
    return checked_tensor(name, entry.get("dtype"), entry.get("shape"), what)


def checked_tensor(name: Any, dtype: Any, shape: Any, what: str) -> TensorInfo:
    """A `TensorInfo` from untrusted values."""
    if not isinstance(name, str) or not 0 < len(name) <= 512:
        raise ShapeError(
            Reason.SAFETENSORS_HEADER_INVALID, f"{what}: a tensor name must be a string of 1 to 512 characters"
        )
    if not isinstance(dtype, str) or dtype not in SAFETENSORS_BITS:
        raise ShapeError(
            Reason.SAFETENSORS_HEADER_INVALID, f"{what}: tensor {name[:80]!r} has unknown dtype {dtype!r:.40}"
        )
    if not isinstance(shape, list | tuple) or len(shape) > MAX_RANK:
        raise ShapeError(Reason.SAFETENSORS_HEADER_INVALID, f"{what}: tensor {name[:80]!r} has no valid shape")
    for size in shape:
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= MAX_DIMENSION:
            raise ShapeError(
                Reason.SAFETENSORS_HEADER_INVALID, f"{what}: tensor {name[:80]!r} has dimension {size!r:.40}"
            )
    return TensorInfo(name, dtype, tuple(shape))


def bounded(tensors: Iterable[TensorInfo]) -> tuple[TensorInfo, ...]:
    """The tensors of all shards as one tuple; refuses more than `MAX_TENSORS`."""
    kept: list[TensorInfo] = []
    for tensor in tensors:
        if len(kept) >= MAX_TENSORS:
            raise ShapeError(Reason.TOO_MANY_TENSORS, f"the model has more than {MAX_TENSORS} tensors")
        kept.append(tensor)
    return tuple(kept)
