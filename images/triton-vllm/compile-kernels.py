"""Compiles, while the image is built, the modules of FlashInfer that a start or a first request uses.

FlashInfer compiles a module when it is first used: minutes at the start of each pod, or while a client waits. The ones
in `MODULES` are compiled here for all GPUs that the image is made for (CUDA_ARCHITECTURES, in nvcc's words: 9.0a is
sm_90a; code for 8.0 runs on 8.6 and 8.9 too) and put into the package `flashinfer_jit_cache`, where FlashInfer looks
first. What is not here is compiled at run time: the image has the compilers. operator/docs/adr/0007-kernels.md has the
sizes and times.

usage: compile-kernels.py PACKAGES [MODULE...]   (PACKAGES: the folder of site-packages; CUDA_HOME names the toolkit)
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PACKAGE = "flashinfer_jit_cache"
DEFAULT_ARCHITECTURES = "8.0 9.0a 10.0f 12.0f"
# Where each module is made, and on which generations of GPUs it is used.
MODULES = {
    "sampling": ("sampling.gen_sampling_module", (8, 9, 10, 12)),
    "rope": ("rope.gen_rope_module", (8, 9, 10, 12)),
    "trtllm_mnnvl_comm": ("comm.gen_trtllm_mnnvl_comm_module", (9, 10)),
    "trtllm_comm": ("comm.gen_trtllm_comm_module", (9, 10)),
}


def parse(architectures: str) -> dict[str, int]:
    """FlashInfer's name for each architecture of a list such as "8.0 9.0a", and its major number."""
    found = {}
    for word in architectures.split():
        match = re.fullmatch(r"(\d+)\.(\d)([af]?)", word)
        # From 9.0 on, the kernels use what only exactly that GPU (a) or its family (f) has.
        if not match or (int(match[1]) >= 9) != bool(match[3]):
            raise ValueError(f"CUDA_ARCHITECTURES: {word!r} cannot be compiled for; give a list such as '8.0 9.0a'")
        found[f"sm{match[1]}{match[2]}{match[3]}"] = int(match[1])
    return found


def architectures_of(name: str, architectures: dict[str, int]) -> list[str]:
    """Those of the architectures on which the module is used."""
    return [architecture for architecture, major in architectures.items() if major in MODULES[name][1]]


def specification(name: str, architectures: list[str]) -> Any:
    """FlashInfer's description of how the module is compiled, for these architectures."""
    from flashinfer.jit import core

    # Modules that are for some generations of GPUs take the flags from here.
    core.current_compilation_context.TARGET_CUDA_ARCHS = {_pair(architecture) for architecture in architectures}
    module, function = MODULES[name][0].rsplit(".", 1)
    found = getattr(importlib.import_module(f"flashinfer.jit.{module}"), function)()
    if found.name != name:
        raise ValueError(f"FlashInfer calls the module {found.name!r}: correct {name!r} in MODULES")
    return found


def _pair(architecture: str) -> tuple[int, str]:
    """(9, "0a") of sm90a, as FlashInfer has it."""
    match = re.fullmatch(r"sm(\d+)(\d[af]?)", architecture)
    assert match is not None
    return int(match[1]), match[2]


def compile_into(target: Path, architectures: dict[str, int], names: list[str]) -> None:
    """Compile the modules and write the package."""
    from flashinfer.jit import build_jit_specs
    from flashinfer.version import __version__

    modules = {name: found for name in names if (found := architectures_of(name, architectures))}
    specs = [specification(name, found) for name, found in modules.items()]
    begun = time.monotonic()
    build_jit_specs(specs, skip_prebuilt=False)
    target.mkdir(parents=True)
    shutil.copyfile(HERE / "precompiled.py", target / "__init__.py")
    for spec in specs:
        (target / spec.name).mkdir()
        shutil.copyfile(spec.jit_library_path, target / spec.name / f"{spec.name}.so")
    (target / "manifest.json").write_text(json.dumps({"version": __version__, "modules": modules}, indent=1) + "\n")
    sizes = ", ".join(f"{file.stem} {file.stat().st_size >> 10} KiB" for file in sorted(target.glob("*/*.so")))
    sys.stdout.write(f"compiled in {time.monotonic() - begun:.0f} s for {' '.join(architectures)}: {sizes}\n")


def main(packages: Path, names: list[str]) -> None:
    listed = os.environ.get("CUDA_ARCHITECTURES") or DEFAULT_ARCHITECTURES
    architectures = parse(listed)
    target = packages / PACKAGE
    shutil.rmtree(target, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        # Read when FlashInfer is imported.
        os.environ.update(FLASHINFER_CUDA_ARCH_LIST=listed, FLASHINFER_WORKSPACE_BASE=scratch)
        compile_into(target, architectures, names or list(MODULES))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
