"""Compiles, when the image is built, the Triton kernels that each start of the engine and its first requests use.

`triton-kernels.jsonl` has a line per kernel and specialization as Triton's hook reported them on a GPU (``make
record-triton-kernels`` writes it): they are those of vLLM's model runner and sampler, and do not depend on the model
but for the divisibility of its sizes and, in those of top-k and top-p, the size of the vocabulary: those are compiled
for each of `VOCABULARIES`. Compiling them takes a start some 10 seconds, and its first request with top-p 8.
Here they are compiled for the architectures of the image, without a GPU, into share/vllm/triton, from where
`backend.launcher.kernel_caches` copies them to the cache of a pod. Triton's key of a kernel has its source and options
in it: what another version of vLLM changed is compiled at run time, as without this.

usage: compile-triton-kernels.py [--recorded-vocabulary] FOLDER ARCHITECTURE...     (8.0 9.0a 10.0f ...)
"""

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import without_gpu

RECORDED = Path(__file__).with_name("triton-kernels.jsonl")
VOCABULARY = "VOCAB_SIZE"
# Of the models that are served most: Llama 2 and Mistral 7B; Mistral Nemo and later; Phi 4; DeepSeek V2; DeepSeek V3;
# Qwen 2 and 3, two sizes; GLM 4; Kimi K2; gpt-oss; Llama 4; Qwen 3.5; Gemma 2; Gemma 3 and 4, two sizes.
VOCABULARIES = (
    32000,
    131072,
    100352,
    102400,
    129280,
    151936,
    152064,
    151552,
    163840,
    201088,
    202048,
    248320,
    256000,
    262144,
    262208,
)


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


def of_vocabularies(row: dict[str, Any], vocabularies: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    """The row as it was recorded, and for each of these sizes where its kernel is compiled for a vocabulary."""
    yield row
    if VOCABULARY in row["signature"]:
        number = list(row["signature"]).index(VOCABULARY)
        recorded = next(value for path, value in row["constants"] if path == [number])
        for size in vocabularies:
            if size != recorded:
                constants = [[path, size if path == [number] else value] for path, value in row["constants"]]
                yield {**row, "constants": constants}


def compile_all(rows: list[dict[str, Any]], capability: int) -> tuple[int, list[str]]:
    """Compile all for an architecture; the number that could be, and a line for each of the others."""
    compiled, problems = 0, []
    for row in rows:
        try:
            compile_kernel(row, capability)
            compiled += 1
        except Exception as error:  # noqa: BLE001 - it is compiled at run time, as all were before
            problems.append(f"{row['name']} for {capability}: {type(error).__name__}: {error}")
    return compiled, problems


def main(arguments: list[str]) -> int:
    """Exit 1 when not a single kernel could be compiled: then this vLLM has none of them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--recorded-vocabulary", action="store_true", help="only as recorded, not for VOCABULARIES")
    parser.add_argument("folder")
    parser.add_argument("architectures", nargs="+")
    options = parser.parse_args(arguments)
    # Of each kernel, no more than what runs: a tenth of what Triton keeps.
    os.environ.update(TRITON_CACHE_DIR=options.folder, TRITON_STORE_BINARY_ONLY="1")
    without_gpu.pretend()
    recorded = [json.loads(line) for line in RECORDED.read_text().splitlines()]
    sizes = () if options.recorded_vocabulary else VOCABULARIES
    rows = [each for row in recorded for each in of_vocabularies(row, sizes)]
    begun = time.monotonic()
    capabilities = sorted({compute_capability(each) for each in options.architectures})
    # Copies of this process, which has imported vLLM.
    with ProcessPoolExecutor(min(len(capabilities), os.cpu_count() or 1), mp_context=get_context("fork")) as pool:
        results = list(pool.map(compile_all, [rows] * len(capabilities), capabilities))
    compiled = sum(count for count, _ in results)
    for problem in [problem for _, problems in results for problem in problems]:
        sys.stdout.write(f"not compiled: {problem}\n")
    sys.stdout.write(f"{compiled} Triton kernels compiled in {time.monotonic() - begun:.0f} s\n")
    return 0 if compiled else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
