"""Compiles, when the image is built, the Triton kernels that each start of the engine and its first requests use.

`triton-kernels.jsonl` has a line per kernel and specialization as Triton's hook reported them on a GPU (``make
record-triton-kernels`` writes it): they are those of vLLM's model runner and sampler, and do not depend on the model
but for the divisibility of its sizes. Compiling them takes a start some 10 seconds, and its first request with top-p 8.
Here they are compiled for the architectures of the image, without a GPU, into share/vllm/triton, from where
`backend.launcher.kernel_caches` copies them to the cache of a pod. Triton's key of a kernel has its source and options
in it: what another version of vLLM changed is compiled at run time, as without this.

usage: compile-triton-kernels.py FOLDER ARCHITECTURE...     (8.0 9.0a 10.0f ...)
"""

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import without_gpu

RECORDED = Path(__file__).with_name("triton-kernels.jsonl")


def compute_capability(architecture: str) -> int:
    """90 for `9.0a`."""
    major, minor = architecture.rstrip("af").split(".")
    return int(major) * 10 + int(minor)


def find(row: dict[str, Any]) -> Any:
    """The kernel of a row. Raises ImportError or AttributeError when this vLLM has none of that name."""
    found: Any = importlib.import_module(row["module"])
    for name in row["name"].split("."):
        found = getattr(found, name)
    while not hasattr(found, "cache_key") and hasattr(found, "fn"):
        found = found.fn  # heuristics and autotuners are wrapped around it
    return found


def compile_kernel(row: dict[str, Any], capability: int) -> None:
    """Compile one specialization for an architecture into Triton's cache folder."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    source = ASTSource(
        find(row),
        {name: tuple(kind) if isinstance(kind, list) else kind for name, kind in row["signature"].items()},
        {tuple(path): value for path, value in row["constants"]},
        # Triton's key has the empty ones too.
        {(number,): [] for number in range(len(row["signature"]))}
        | {tuple(path): values for path, values in row["attributes"]},
    )
    triton.compile(source, target=GPUTarget("cuda", capability, 32), options=dict(row["options"]))


def main(arguments: list[str]) -> int:
    """Exit 1 when not a single kernel could be compiled: then this vLLM has none of them."""
    folder, architectures = arguments[0], arguments[1:]
    # Of each kernel, no more than what runs: a tenth of what Triton keeps.
    os.environ.update(TRITON_CACHE_DIR=folder, TRITON_STORE_BINARY_ONLY="1")
    without_gpu.pretend()
    rows = [json.loads(line) for line in RECORDED.read_text().splitlines()]
    begun, compiled, problems = time.monotonic(), 0, []
    for capability in sorted({compute_capability(each) for each in architectures}):
        for row in rows:
            try:
                compile_kernel(row, capability)
                compiled += 1
            except Exception as error:  # noqa: BLE001 - it is compiled at run time, as all were before
                problems.append(f"{row['name']} for {capability}: {type(error).__name__}: {error}")
    for problem in problems:
        sys.stdout.write(f"not compiled: {problem}\n")
    sys.stdout.write(f"{compiled} Triton kernels compiled in {time.monotonic() - begun:.0f} s\n")
    return 0 if compiled else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
