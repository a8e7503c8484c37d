"""Which GPUs a library holds code for, read from the fat binaries in it (cuobjdump is not in any package)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

MAGIC = struct.pack("<IHH", 0xBA55ED50, 1, 16)
_HEADER = 16
_CUBIN, _ENTRY = 2, 64


def architectures(library: bytes) -> set[int]:
    """Compute capabilities (90 is 9.0) for which there is machine code."""
    return {arch for kind, arch in _entries(library) if kind == _CUBIN}


def _entries(library: bytes) -> Iterator[tuple[int, int]]:
    """(kind, architecture) of each entry of each fat binary."""
    at = library.find(MAGIC)
    while at >= 0:
        (size,) = struct.unpack_from("<Q", library, at + 8)
        position, end = at + _HEADER, at + _HEADER + size
        while position + _ENTRY <= min(end, len(library)):
            kind, _, header, payload = struct.unpack_from("<HHIQ", library, position)
            (arch,) = struct.unpack_from("<I", library, position + 28)
            if header < _ENTRY:
                break
            yield kind, arch
            position += header + payload
        at = library.find(MAGIC, at + len(MAGIC))
