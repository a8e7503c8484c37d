"""Imports what every process of the engine imports. The fork server does so once, for all of them.

`images/triton-vllm/import-engine.py` imports the same modules when the image is built, for their bytecode.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import sys
import traceback
from collections.abc import Iterable, Mapping

ENGINE_MODULES = (
    "torch.distributed.distributed_c10d",
    "torch._dynamo",
    "torch._inductor.compile_fx",
    "vllm.v1.engine.core",
    "vllm.v1.executor.multiproc_executor",
    "vllm.v1.executor.uniproc_executor",
    "vllm.v1.structured_output",
    "vllm.compilation.backends",
    "vllm.model_executor.model_loader.default_loader",
    "vllm.model_executor.models.llama",
    "vllm.tokenizers.registry",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.auto.image_processing_auto",
    "transformers.models.auto.processing_auto",
    "transformers.models.llama.configuration_llama",
    "transformers.tokenization_utils_fast",
)
DEVICE_MODULES = {
    "cpu": ("vllm.v1.worker.cpu_worker", "vllm.v1.worker.cpu_model_runner", "vllm.v1.attention.backends.cpu_attn"),
    "cuda": (
        "vllm.v1.worker.gpu_worker",
        "vllm.v1.worker.gpu_model_runner",
        "vllm.v1.worker.gpu.model_runner",
        "vllm.v1.attention.backends.flash_attn",
        "vllm.v1.attention.backends.flashinfer",
        "vllm.v1.attention.backends.triton_attn",
        "vllm.v1.sample.ops.topk_topp_sampler",
        "vllm.v1.sample.ops.topk_topp_triton",
        "flashinfer.sampling",
        "triton.compiler.code_generator",
        "torch._inductor.codecache",
        "torch._inductor.runtime.triton_heuristics",
        "torch._dynamo.backends.registry",
        "compressed_tensors.quantization",
    ),
}
CUDA_DRIVER = "libcuda.so.1"


def modules_of(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the modules that the engine's processes import on the device of this image."""
    return ENGINE_MODULES + DEVICE_MODULES.get(environment.get("TRITON_VLLM_DEVICE", ""), ())


def import_all(names: Iterable[str]) -> list[str]:
    """Import modules; returns a line for each that cannot be imported here. A process that needs it fails by itself."""
    problems = []
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - whatever a module raises
            problems.append(f"{name} is not preloaded: {type(error).__name__}: {error}")
    return problems


def preload() -> None:
    """Import the engine in this process, the fork server, before it is copied. Raises NotCopyable."""
    from backend.engine.forkserver import start_copies
    from backend.patches import cuda_device_properties, flashinfer_selection

    on_gpus = os.environ.get("TRITON_VLLM_DEVICE") == "cuda"
    with cuda_device_properties.installed():
        start_copies()
        if on_gpus:
            flashinfer_selection.install()
        for problem in import_all(modules_of(os.environ)):
            sys.stderr.write(f"{problem}\n")
    if on_gpus and not copies_can_use_gpus():
        raise cuda_device_properties.NotCopyable("a module that is imported in advance has initialized CUDA")
    _set_title("ForkServer")
    # The garbage collector of a copy need not look at what they all share, and the pages of it stay shared.
    gc.collect()
    gc.freeze()


def copies_can_use_gpus() -> bool:
    """Whether CUDA can be initialized in a copy of this process. Not after anything has initialized it here."""
    pid = os.fork()
    if pid == 0:
        _try_gpus()
    return os.waitpid(pid, 0)[1] == 0


def _try_gpus() -> None:
    """Initialize CUDA and end this process, which is a copy of another, with 0 when that is possible."""
    try:
        import torch

        # An exit code has eight bits, an error of the driver more.
        os._exit(int(torch.cuda._is_in_bad_fork() or ctypes.CDLL(CUDA_DRIVER).cuInit(0) != 0))
    except BaseException:  # noqa: BLE001 - nothing may go up from here: it would go on as the process copied
        traceback.print_exc()
    os._exit(1)


def _set_title(name: str) -> None:
    """Name this process as vLLM names its own. Done first here, so that it works in copies with another environment."""
    from vllm.utils.system_utils import set_process_title

    set_process_title(name)
