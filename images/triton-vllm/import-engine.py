"""Imports what a start of the engine imports, so that its bytecode is written into the image.

The root file system of a pod is read-only and packages are installed without bytecode (all of it is 1 GB): without
this, each process of each start compiles torch and vLLM again. What cannot be imported where the image is built (a
module that wants a GPU, one that another version of vLLM lacks) is told and left out: it is compiled at the start.
"""

import importlib
import os
import sys

MODULES = [
    "uvicorn",
    "uvloop",
    "zmq.asyncio",
    "torch.distributed",
    "torch.distributed.distributed_c10d",
    "torch._dynamo",
    "torch._inductor.compile_fx",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.auto.image_processing_auto",
    "transformers.models.auto.processing_auto",
    "transformers.models.llama.configuration_llama",
    "transformers.tokenization_utils_fast",
    "huggingface_hub.hf_api",
    "vllm.engine.arg_utils",
    "vllm.v1.engine.async_llm",
    "vllm.v1.engine.core",
    "vllm.v1.executor.multiproc_executor",
    "vllm.v1.executor.uniproc_executor",
    "vllm.v1.structured_output",
    "vllm.v1.metrics.loggers",
    "vllm.entrypoints.openai.api_server",
    "vllm.model_executor.model_loader.default_loader",
    "vllm.model_executor.models.llama",
    "vllm.tokenizers.registry",
    "vllm.compilation.backends",
]
WORKERS = {
    "cpu": ["vllm.v1.worker.cpu_worker", "vllm.v1.worker.cpu_model_runner", "vllm.v1.attention.backends.cpu_attn"],
    "cuda": ["vllm.v1.worker.gpu_worker", "vllm.v1.worker.gpu_model_runner", "vllm.v1.attention.backends.flash_attn"],
}


def main() -> None:
    for name in MODULES + WORKERS[os.environ["DEVICE"]]:
        try:
            importlib.import_module(name)
        except (ImportError, AttributeError, RuntimeError, OSError) as error:
            sys.stdout.write(f"no bytecode of {name}: {type(error).__name__}: {error}\n")


if __name__ == "__main__":
    main()
