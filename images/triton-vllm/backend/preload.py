"""Imports what every process of the engine imports. The fork server does so once, for all of them.

``images/triton-vllm/import-engine.py`` imports the same modules when the image is built, for their bytecode.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

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
            problems.append(f"{name} is not imported in advance: {type(error).__name__}: {error}")
    return problems


class NotCopyable(RuntimeError):
    """Copies of this process could not use a GPU, or would take it for another one."""


def preload() -> None:
    """Import the engine in this process, the fork server, before it is copied. Raises NotCopyable."""
    from backend.forkserver import start_copies
    from backend.kernels import prefer_own

    on_gpus = os.environ.get("TRITON_VLLM_DEVICE") == "cuda"
    with gpus_asked_elsewhere():
        start_copies()
        if on_gpus:
            prefer_own()
        for problem in import_all(modules_of(os.environ)):
            sys.stderr.write(f"{problem}\n")
    if on_gpus and not copies_can_use_gpus():
        raise NotCopyable("a module that is imported in advance has initialized CUDA")
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


@contextlib.contextmanager
def gpus_asked_elsewhere() -> Iterator[None]:
    """Have ``torch.cuda.get_device_properties`` answered by a copy of this process that ends after it.

    FlashInfer asks for the GPUs' properties while it is imported, which would initialize CUDA here. Raises NotCopyable
    when it asked for what the copy did not find: it goes on as if there were another GPU.
    """
    import torch

    answers = GPUProperties()
    answered = torch.cuda.get_device_properties
    torch.cuda.get_device_properties = answers.of
    try:
        yield
    finally:
        torch.cuda.get_device_properties = answered
        answers.close()
    if answers.unknown:
        raise NotCopyable(answers.unknown)


class GPUProperties:
    """Properties of the GPUs that a copy of this process finds; it is started when this is made, and asked later."""

    def __init__(self) -> None:
        # Which question had no answer.
        self.unknown = ""
        self._reading, writing = os.pipe()
        self._found: list[dict[str, Any]] | None = None
        self._pid = os.fork()
        if self._pid == 0:
            _answer(writing)
        os.close(writing)

    def of(self, device: Any = None) -> SimpleNamespace:
        """What ``torch.cuda.get_device_properties(device)`` returns, as far as it can be sent. Raises RuntimeError."""
        import torch

        if self._found is None:
            with os.fdopen(os.dup(self._reading), "rb") as pipe:
                self._found = json.loads(pipe.read() or b"[]")
        index = torch.cuda._utils._get_device_index(device, optional=True, allow_cpu=False) if device is not None else 0
        if index >= len(self._found):
            self.unknown = f"the properties of GPU {index} are not known"
            raise RuntimeError(self.unknown)
        return SimpleNamespace(**self._found[index])

    def close(self) -> None:
        """Collect the copy."""
        os.close(self._reading)
        os.waitpid(self._pid, 0)


def _answer(writing: int) -> None:
    """Write the properties of all GPUs and end this process, which is a copy of another."""
    try:
        import torch

        found = [torch.cuda.get_device_properties(device) for device in range(torch.cuda.device_count())]
        os.write(writing, json.dumps([_values(each) for each in found]).encode())
    except BaseException:  # noqa: BLE001 - nothing may go up from here: it would go on as the process copied
        traceback.print_exc()
    os._exit(0)


def _values(properties: Any) -> dict[str, Any]:
    """Names and values of those properties that are text or numbers."""
    values = {name: getattr(properties, name) for name in dir(properties) if not name.startswith("_")}
    return {name: value for name, value in values.items() if isinstance(value, (str, int, float))}


def _set_title(name: str) -> None:
    """Name this process as vLLM names its own. Done first here, so that it works in copies with another environment."""
    from vllm.utils.system_utils import set_process_title

    set_process_title(name)
