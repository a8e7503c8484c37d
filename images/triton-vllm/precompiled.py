"""FlashInfer's modules that were compiled when the image was built, in the words in which FlashInfer looks for them.

FlashInfer imports a package of this name and asks which modules it holds for which GPUs; for other GPUs, and for
modules that are not here, it compiles. `compile-kernels.py` puts this file into the image, with the modules and a
manifest beside it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
MANIFEST = json.loads((FOLDER / "manifest.json").read_text())
# FlashInfer refuses modules of another version of itself.
__version__: str = MANIFEST["version"]


@dataclass(frozen=True)
class Provider:
    """Modules that hold code for the same architectures."""

    provider_id: str
    distribution: str
    version: str
    jit_cache_dir: str
    cuda_architectures: tuple[str, ...]
    modules: tuple[str, ...]


def get_jit_cache_providers() -> tuple[Provider, ...]:
    """One provider per set of architectures."""
    sets: dict[tuple[str, ...], list[str]] = {}
    for module, architectures in MANIFEST["modules"].items():
        sets.setdefault(tuple(architectures), []).append(module)
    return tuple(
        Provider(f"image-{'-'.join(architectures)}", __name__, __version__, str(FOLDER), architectures, tuple(modules))
        for architectures, modules in sets.items()
    )
