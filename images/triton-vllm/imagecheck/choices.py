"""Which kernels vLLM chooses by default for usual models, asked of vLLM itself, without a GPU.

None may be one that FlashInfer compiles or downloads at a start: `backend.patches.flashinfer_selection` sees to that.
`python -m imagecheck.choices CAPABILITY` prints them, a line each.
"""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import without_gpu
from backend.patches import flashinfer_selection

# Those of which FlashInfer has kernels that vLLM may choose.
CAPABILITIES = ("9.0", "10.0", "12.0")
FOREIGN = re.compile(r"flashinfer|trtllm", re.IGNORECASE)


def problems() -> Iterator[str]:
    """Choices that a start would pay for."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        for capability, lines in zip(CAPABILITIES, pool.map(_chosen, CAPABILITIES), strict=True):
            for line in lines:
                if FOREIGN.search(line):
                    yield (
                        f"on {capability} vLLM selects {line}. "
                        "Prevent it in backend.patches.flashinfer_selection, or compile it when the image is built."
                    )


def _chosen(capability: str) -> list[str]:
    command = [sys.executable, "-m", "imagecheck.choices", capability]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def chosen() -> Iterator[tuple[str, Any]]:
    """(for what, kernel). Call it where a GPU is pretended and nothing of vLLM's layers imported."""
    import torch
    from vllm.config import VllmConfig, set_current_vllm_config

    config = VllmConfig()
    shape = SimpleNamespace(model_type="llama")
    config.model_config = SimpleNamespace(
        quantization_config=None, dtype=torch.bfloat16, hf_config=shape, hf_text_config=shape, model="model"
    )
    with set_current_vllm_config(config):
        for kind, choices in (("linear", _linear()), ("experts", _experts())):
            for name, choose in choices.items():
                yield f"{kind}, {name}", choose()


def _linear() -> dict[str, Callable[[], Any]]:
    import torch
    import vllm.model_executor.kernels.linear as found
    from vllm.model_executor.kernels.linear.mixed_precision.MPLinearKernel import MPLinearLayerConfig
    from vllm.model_executor.kernels.linear.scaled_mm.ScaledMMLinearKernel import FP8ScaledMMLinearLayerConfig
    from vllm.model_executor.layers.quantization.utils import quant_utils as keys
    from vllm.platforms import current_platform
    from vllm.scalar_type import scalar_types

    shape, capability = (4096, 4096), current_platform.get_device_capability().to_int()

    def fp8(weights: Any, activations: Any, possible: Any) -> Any:
        config = FP8ScaledMMLinearLayerConfig(
            weight_quant_key=weights,
            activation_quant_key=activations,
            weight_shape=shape,
            input_dtype=torch.bfloat16,
            out_dtype=torch.bfloat16,
        )
        return found.choose_scaled_mm_linear_kernel(config, possible, capability, quantization="fp8")

    def awq() -> Any:
        config = MPLinearLayerConfig(
            full_weight_shape=shape,
            partition_weight_shape=shape,
            weight_type=scalar_types.uint4,
            act_type=torch.bfloat16,
            group_size=128,
            zero_points=True,
        )
        return found.choose_mp_linear_kernel(config)

    tensor, block = found._POSSIBLE_FP8_KERNELS, found._POSSIBLE_FP8_BLOCK_KERNELS
    return {
        "FP8 per tensor": lambda: fp8(keys.kFp8StaticTensorSym, keys.kFp8StaticTensorSym, tensor),
        "FP8 per token": lambda: fp8(keys.kFp8StaticChannelSym, keys.kFp8DynamicTokenSym, tensor),
        "FP8 in blocks": lambda: fp8(keys.kFp8Static128BlockSym, keys.kFp8Dynamic128Sym, block),
        "AWQ": awq,
        "MXFP4": lambda: type(found.init_mxfp4_linear_kernel()),
        "MXFP8": lambda: type(found.init_mxfp8_linear_kernel(weight_shape=shape)),
        "NVFP4": lambda: type(found.init_nvfp4_linear_kernel()),
    }


def _experts() -> dict[str, Callable[[], Any]]:
    from vllm.model_executor.layers.fused_moe.activation import MoEActivation
    from vllm.model_executor.layers.fused_moe.oracle import fp8, mxfp4, nvfp4, unquantized
    from vllm.model_executor.layers.quantization.utils import quant_utils as keys

    plain, gpt_oss = _mixture(MoEActivation.SILU), _mixture(MoEActivation.SWIGLUOAI, has_bias=True)
    tensor, block = keys.kFp8StaticTensorSym, keys.kFp8Static128BlockSym
    return {
        "16-bit": lambda: unquantized.select_unquantized_moe_backend(plain)[1],
        "FP8 per tensor": lambda: fp8.select_fp8_moe_backend(plain, tensor, tensor)[1],
        "FP8 in blocks": lambda: fp8.select_fp8_moe_backend(plain, block, keys.kFp8Dynamic128Sym)[1],
        "NVFP4": lambda: nvfp4.select_nvfp4_moe_backend(plain, keys.kNvfp4Static, keys.kNvfp4Dynamic)[1],
        "MXFP4 of gpt-oss": lambda: mxfp4.select_mxfp4_moe_backend(gpt_oss)[1],
    }


def _mixture(activation: Any, *, has_bias: bool = False) -> Any:
    import torch
    from vllm.model_executor.layers.fused_moe.config import FusedMoEConfig, FusedMoEParallelConfig, RoutingMethodType

    sizes = dict.fromkeys(("tp_size", "pcp_size", "dp_size", "ep_size", "sp_size"), 1)
    ranks = dict.fromkeys(("tp_rank", "pcp_rank", "dp_rank", "ep_rank"), 0)
    alone = FusedMoEParallelConfig(
        **sizes, **ranks, use_ep=False, all2all_backend="allgather_reducescatter", enable_eplb=False
    )
    return FusedMoEConfig(
        num_experts=128,
        experts_per_token=8,
        hidden_dim=2048,
        intermediate_size=768,
        num_local_experts=128,
        num_logical_experts=128,
        activation=activation,
        device="cuda",
        routing_method=RoutingMethodType.Renormalize,
        moe_parallel_config=alone,
        in_dtype=torch.bfloat16,
        has_bias=has_bias,
    )


def main(capability: str) -> None:
    """Print what is chosen on a GPU of this capability."""
    logging.disable(logging.CRITICAL)
    major, minor = capability.split(".")
    without_gpu.pretend((int(major), int(minor)))
    flashinfer_selection.install()
    for what, kernel in chosen():
        sys.stdout.write(f"{kernel.__name__} for {what}\n")


if __name__ == "__main__":
    main(sys.argv[1])
