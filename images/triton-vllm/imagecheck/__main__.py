"""`python -m imagecheck [--device cpu] [PART...]`: exit 1 when a part found something.

Runs anywhere where the image's environment is: PATH has its Python, CUDA_HOME names the toolkit.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from backend.launcher.kernel_caches import KERNEL_CACHES, set_cache_folders
from imagecheck.calls import Recorder

HERE = Path(__file__).resolve().parent
SECONDS = 900


@dataclass(frozen=True)
class Part:
    """One thing that is looked at: what finds problems, and the compilers that it calls, all of them and no others."""

    name: str
    check: Callable[[], Iterable[str] | None]
    calls: frozenset[str] = field(default=frozenset())
    on_cpu: bool = False


def _lazily(module: str, function: str) -> Callable[[], Iterable[str] | None]:
    return lambda: getattr(importlib.import_module(f"imagecheck.{module}"), function)()


def _part(name: str, module: str, function: str, *calls: str, on_cpu: bool = False) -> Part:
    return Part(name, _lazily(module, function), frozenset(calls), on_cpu)


PARTS = (
    _part("files", "parts", "files", on_cpu=True),
    _part("requirements", "parts", "requirements", on_cpu=True),
    _part("patches", "parts", "patches", on_cpu=True),
    _part("toolkit", "parts", "toolkit", "nvcc"),
    _part("triton-stub", "compilers", "triton_stub", "gcc"),
    _part("triton-kernels", "compilers", "triton_kernels"),
    _part("inductor", "compilers", "inductor", "g++"),
    _part("cutlass-dsl", "compilers", "cutlass_dsl"),
    _part("humming", "compilers", "humming"),
    _part("tilelang", "compilers", "tilelang", "nvcc", "g++"),
    _part("deep-gemm", "compilers", "deep_gemm", "nvcc"),
    _part("flashinfer-compiles", "compilers", "flashinfer_compiles", "ninja", "nvcc", "c++"),
    _part("flashinfer-modules", "compilers", "flashinfer_modules"),
    _part("triton-precompiled", "compilers", "triton_precompiled"),
    _part("fork-server", "compilers", "fork_server"),
    _part("choices", "choices", "problems"),
    _part("modules", "parts", "modules"),
)


def run(part: Part, recorder: Recorder) -> list[str]:
    """What one part finds, in a process of its own."""
    command = [sys.executable, "-m", "imagecheck", "--in-process", part.name]
    done = subprocess.run(
        command, env=recorder.environment, capture_output=True, text=True, check=False, timeout=SECONDS
    )
    found = [line.removeprefix("PROBLEM ") for line in done.stdout.splitlines() if line.startswith("PROBLEM ")]
    if done.returncode != 0:
        found.append(f"ended with {done.returncode}: {(done.stdout + done.stderr)[-3000:]}")
    called = recorder.taken()
    for name in sorted(called - part.calls):
        found.append(f"{name} is called, which is not expected at a start: find the caller, and add it to PARTS")
    for name in sorted(part.calls - called):
        found.append(f"{name} is not called, and was expected: remove it from PARTS")
    return found


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def check(part: Part) -> int:
    """Print what one part finds."""
    try:
        for problem in part.check() or ():
            say(f"PROBLEM {' '.join(problem.split())}")
    except Exception:  # noqa: BLE001 - whatever a library raises is what this is for
        traceback.print_exc()
        return 1
    return 0


def environment(folder: Path) -> dict[str, str]:
    """That of a pod, with no GPU: a home folder, one for caches, one for what is temporary."""
    for name in ("home", "cache", "tmp"):
        (folder / name).mkdir()
    kept = {name: value for name, value in os.environ.items() if name not in KERNEL_CACHES}
    found = {
        **kept,
        "CUDA_VISIBLE_DEVICES": "",
        "HOME": str(folder / "home"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": ":".join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "TMPDIR": str(folder / "tmp"),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    found.pop("PYTHONPYCACHEPREFIX", None)
    set_cache_folders(found)
    return found


def astray(folder: Path) -> list[str]:
    """What the parts left in the home folder: it is not where caches are kept."""
    left = sorted(path.relative_to(folder).as_posix() for path in (folder / "home").rglob("*") if path.is_file())
    return [f"{path} was written outside of the folder for caches: add its variable to KERNEL_CACHES" for path in left]


def main(arguments: list[str]) -> int:
    """Run the parts that are named, or all that are for the device; 0 when none found anything."""
    parser = argparse.ArgumentParser(prog="imagecheck", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default=os.environ.get("TRITON_VLLM_DEVICE", "cuda"))
    parser.add_argument("--in-process", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(part.name for part in PARTS))
    given = parser.parse_args(arguments)
    chosen = [part for part in PARTS if not given.parts or part.name in given.parts]
    if unknown := set(given.parts) - {part.name for part in PARTS}:
        parser.error(f"there is no part {sorted(unknown)[0]!r}")
    if given.in_process:
        return check(chosen[0])
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        recorder = Recorder(folder / "recorder", environment(folder))
        for part in chosen:
            if given.device == "cpu" and not part.on_cpu:
                continue
            begun = time.monotonic()
            problems = run(part, recorder)
            failed += bool(problems)
            say(f"{part.name}: {'FAILED' if problems else 'ok'} ({time.monotonic() - begun:.0f} s)")
            for problem in problems:
                say(f"  {problem}")
        for problem in astray(folder):
            failed += 1
            say(problem)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
