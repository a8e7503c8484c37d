"""What the image knows before the engine starts, put where the engine looks for it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

# Written when the image is built: what vLLM found when it looked at each of its model classes.
MODEL_INFOS = Path(sys.prefix) / "share/vllm/modelinfos"


def cache_root(environment: Mapping[str, str]) -> Path:
    """vLLM's cache folder, found as vLLM finds it."""
    base = environment.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(environment.get("VLLM_CACHE_ROOT") or f"{base}/vllm").expanduser()


def give_model_infos(environment: Mapping[str, str], known: Path = MODEL_INFOS) -> int:
    """Copy what is known of the model classes to the engine's cache; returns how many classes.

    Without it each start in a new pod imports the engine in one more process, only to look at one class. vLLM compares
    a hash of the class's file and looks for itself when it differs, so a wrong entry does no harm. A folder that cannot
    be written costs time alone, and is told.
    """
    if not known.is_dir():
        return 0
    folder = cache_root(environment) / known.name
    try:
        shutil.copytree(known, folder, copy_function=shutil.copyfile, dirs_exist_ok=True)
    except OSError as error:
        os.write(2, f"what is known of the model classes was not written to {folder}: {error}\n".encode())
        return 0
    return sum(1 for _ in known.iterdir())
