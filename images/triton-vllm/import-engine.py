"""Does once, while the image is built, what each start of the engine would do again.

Imports what a start imports, so that its bytecode is written into the image. The root file system of a pod is read-only
and packages are installed without bytecode: without this, each process of each start compiles torch and vLLM again. For
GPUs that is all that vLLM may import, in functions too, and all of the packages that compile kernels: what they import
differs from GPU to GPU and from model to model. Then has vLLM look at all of its model classes and keeps what it finds
in share/vllm/modelinfos: without that, a start imports the engine in one more process to look at its model's class.

What cannot be imported (a module that another version of vLLM lacks) is reported and left out: it is compiled, or
inspected, at the start. The image for GPUs is checked for that at the end of its build.
"""

import compileall
import importlib
import os
import re
import sys
from pathlib import Path

import without_gpu
from backend.engine import preload
from imagecheck import modules as of_vllm

# backend/patches/modelinfo_cache.py reads it there.
KEPT = Path(sys.prefix) / "share/vllm"

# Of the process of the front ends; the others import what `backend.engine.preload` lists.
MODULES = (
    "uvicorn",
    "uvloop",
    "zmq.asyncio",
    "huggingface_hub.hf_api",
    "vllm.engine.arg_utils",
    "vllm.v1.engine.async_llm",
    "vllm.v1.metrics.loggers",
    "vllm.entrypoints.openai.api_server",
    "vllm.entrypoints.launchers.app",
    "vllm.entrypoints.launchers.cli_args",
    "vllm.entrypoints.launchers.api_server.app_state",
)
# These import by name, and late.
WHOLE = ["torch", "triton", "flashinfer"]
LEFT_OUT = re.compile(r"/(tests?|testing|benchmarks?|examples?|data)/")


def inspect_models() -> int:
    """Have vLLM look at every model class that it knows, in this process; returns how many it could."""
    from vllm.model_executor.models import registry

    # vLLM starts a process for each, so that none of them initializes CUDA in the server.
    registry._run_in_subprocess = lambda function: function()
    for architecture, model in registry.ModelRegistry.models.items():
        try:
            model.inspect_model_cls()
        except Exception as error:  # noqa: BLE001 - whatever a module of a model raises
            sys.stdout.write(f"not looked at {architecture}: {type(error).__name__}: {error}\n")
    kept = list((KEPT / "modelinfos").iterdir())
    for file in kept:
        file.chmod(0o644)  # vLLM writes it for its own user alone; a pod runs as another
    return len(kept)


def compile_for_gpus() -> None:
    """Import all that vLLM may import on a GPU, and write the bytecode of `WHOLE`."""
    without_gpu.pretend()
    for problem in of_vllm.problems():
        sys.stdout.write(f"{problem}\n")
    for name in WHOLE:
        folder = Path(str(importlib.import_module(name).__file__)).parent
        if not compileall.compile_dir(folder, maxlevels=20, rx=LEFT_OUT, quiet=1, workers=0):
            sys.stdout.write(f"not all of {name} could be compiled\n")


def main() -> None:
    os.environ["VLLM_CACHE_ROOT"] = str(KEPT)
    device = os.environ["DEVICE"]
    if device == "cuda":
        compile_for_gpus()
    for problem in preload.import_all(MODULES + preload.modules_of({"TRITON_VLLM_DEVICE": device})):
        sys.stdout.write(f"{problem}\n")
    sys.stdout.write(f"{inspect_models()} model classes looked at\n")


if __name__ == "__main__":
    main()
