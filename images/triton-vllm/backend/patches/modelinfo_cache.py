"""Fill vLLM's cache of model classes from the image.

Changes: writes the folder `modelinfos` of vLLM's cache before the server starts. When the image is built,
`import-engine.py` has vLLM inspect all of its model classes (in its own process instead of `_run_in_subprocess`) and
keeps what it wrote there.

Why: without it each start in a new pod imports the engine in one more process, only to inspect one class. vLLM compares
a hash of the class's file and inspects the class itself when it differs, so a wrong entry does no harm.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from backend.patches.upstream import Target, Upstream

# Written when the image is built.
MODEL_INFOS = Path(sys.prefix) / "share/vllm/modelinfos"
REGISTRY = "vllm.model_executor.models.registry"
UPSTREAM = Upstream(
    (
        Target(
            REGISTRY,
            "_LazyRegisteredModel._get_cache_dir",
            source=(f"return Path(envs.VLLM_CACHE_ROOT) / {MODEL_INFOS.name!r}",),
        ),
        Target(
            REGISTRY,
            "_LazyRegisteredModel.inspect_model_cls",
            source=("_run_in_subprocess(lambda: _ModelInfo.from_model_cls(self.load_model_cls()))",),
        ),
        Target(REGISTRY, "_run_in_subprocess", parameters=("fn",)),
    )
)


def cache_root(environment: Mapping[str, str]) -> Path:
    """Return vLLM's cache folder, found as vLLM finds it."""
    base = environment.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(environment.get("VLLM_CACHE_ROOT") or f"{base}/vllm").expanduser()


def install(environment: Mapping[str, str], image: Path = MODEL_INFOS) -> int:
    """Copy the image's entries to the engine's cache; returns the number of classes.

    A folder that cannot be written costs only time: the error is written to standard error.
    """
    if not image.is_dir():
        return 0
    folder = cache_root(environment) / image.name
    try:
        shutil.copytree(image, folder, copy_function=shutil.copyfile, dirs_exist_ok=True)
    except OSError as error:
        os.write(2, f"failed to copy the image's model infos to {folder}: {error}\n".encode())
        return 0
    return sum(1 for _ in image.iterdir())
