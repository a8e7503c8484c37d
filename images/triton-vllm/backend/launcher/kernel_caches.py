"""What the image knows before the engine starts, put where the engine looks for it."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, MutableMapping
from pathlib import Path

# Kernels that each start uses, compiled when the image is built for the GPUs that it supports.
TRITON_KERNELS = Path(sys.prefix) / "share/vllm/triton"
# Where libraries keep the kernels that they compile at run time, and the folder that each gets. Left alone, half of
# them write below the home folder and half below /tmp; FlashInfer makes its folder when it is imported.
KERNEL_CACHES = {
    "CUDA_CACHE_PATH": "cuda",  # the driver: code that it makes of PTX
    "CUDA_TILE_CACHE_DIR": "cutile",
    "CUTE_DSL_CACHE_DIR": "cute-dsl",
    "FLASHINFER_WORKSPACE_BASE": "flashinfer",
    "FLASH_ATTENTION_CUTE_DSL_CACHE_DIR": "flash-attention",
    "FLEX_ATTENTION_CUTE_DSL_CACHE_DIR": "flex-attention",
    "HUMMING_CACHE_DIR": "humming/cache",
    "HUMMING_TMP_DIR": "humming/tmp",
    "MINFER_FMHA_CACHE_DIR": "minfer/fmha",
    "MM_SPARSE_ATTN_AOT_CACHE": "minfer/sparse",
    "QUACK_CACHE_DIR": "quack",
    "QUACK_HOME": "quack",
    "TILELANG_CACHE_DIR": "tilelang",
    "TORCHINDUCTOR_CACHE_DIR": "torchinductor",
    "TORCH_EXTENSIONS_DIR": "torch-extensions",
    "TRITON_CACHE_DIR": "triton",
    "TRITON_HOME": "triton",
    "TVM_FFI_CACHE_DIR": "tvm-ffi",
}
USER_NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")


def set_cache_folders(environment: MutableMapping[str, str]) -> Path:
    """Give every library that compiles kernels a folder of its own below one that can be written; returns that one.

    It is XDG_CACHE_HOME, where that is set. What the user set stays as it is, but for a home folder that cannot be
    written: containers often run as a user that has none. Such a user has no name either, and libraries that put it
    into a path would end the engine.
    """
    if not _writable(environment.get("HOME")):
        environment["HOME"] = tempfile.gettempdir()
    root = Path(environment.get("XDG_CACHE_HOME") or Path(environment["HOME"]) / ".cache")
    environment["XDG_CACHE_HOME"] = str(root)
    for name, folder in KERNEL_CACHES.items():
        if not environment.get(name):
            environment[name] = str(root / folder)
    if not any(environment.get(name) for name in USER_NAMES):
        environment["USER"] = f"uid-{os.getuid()}"
    return root


def _writable(folder: str | None) -> bool:
    return bool(folder) and os.access(str(folder), os.W_OK | os.X_OK)


def copy_triton_kernels(environment: Mapping[str, str], known: Path = TRITON_KERNELS) -> int:
    """Copy the Triton kernels that were compiled when the image was built to Triton's cache; returns how many.

    A folder that is there already stays as it is. A cache that cannot be written costs only time: the error is written
    to standard error.
    """
    folder = environment.get("TRITON_CACHE_DIR")
    if not folder or not known.is_dir():
        return 0
    count = 0
    try:
        for kernel in known.iterdir():
            target = Path(folder) / kernel.name
            if not target.exists():
                _copy_whole(kernel, target)
            count += 1
    except OSError as error:
        os.write(2, f"failed to copy the image's kernels to {folder}: {error}\n".encode())
    return count


def _copy_whole(kernel: Path, target: Path) -> None:
    """Triton takes a folder for whole once it is there: it comes under its name when it is. Raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=f"{kernel.name}.", dir=target.parent))
    try:
        shutil.copytree(kernel, making, copy_function=shutil.copyfile, dirs_exist_ok=True)
        making.chmod(0o755)
        making.rename(target)
    except OSError:
        # Another pod with the same cache may have been faster.
        if not target.exists():
            raise
    finally:
        shutil.rmtree(making, ignore_errors=True)
