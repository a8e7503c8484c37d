"""LLMDeployments, nodes with GPUs, model configs and plans of them for tests."""

from __future__ import annotations

from typing import Any

from tests.desired.samples import resource
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.capacity import shape_from_config
from triton_vllm_operator.plan import verdict
from triton_vllm_operator.plan.verdict import Decision

VERSION = "0.32.0"
H100 = ("NVIDIA-H100-80GB-HBM3", 81559, "9", "0")
H200 = ("NVIDIA-H200", 143771, "9", "0")
A10 = ("NVIDIA-A10", 23028, "8", "6")
T4 = ("Tesla-T4", 15360, "7", "5")
LLAMA_70B = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8192, "intermediate_size": 28672,
    "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": 128256,
    "max_position_embeddings": 131072, "torch_dtype": "bfloat16",
}  # fmt: skip
LLAMA_8B = LLAMA_70B | {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "max_position_embeddings": 8192,
}  # fmt: skip


def llm(**spec: Any) -> LLMDeployment:
    return LLMDeployment.parse(resource("llama", {"model": {"uri": "hf://org/model"}, **spec}))


def node(
    card: tuple[str, int, str, str], gpus: int = 8, name: str = "n", driver: str = "", **labels: str
) -> dict[str, Any]:
    product, memory, major, minor = card
    if driver:
        labels["nvidia.com__cuda.driver-version.full"] = driver
    told = {
        "nvidia.com/gpu.product": product,
        "nvidia.com/gpu.memory": str(memory),
        "nvidia.com/gpu.compute.major": major,
        "nvidia.com/gpu.compute.minor": minor,
        **{key.replace("__", "/"): value for key, value in labels.items()},
    }
    return {"metadata": {"name": name, "labels": told}, "status": {"allocatable": {"nvidia.com/gpu": str(gpus)}}}


def decided(config: dict[str, Any], *nodes: dict[str, Any], **spec: Any) -> Decision:
    found = verdict.decide(llm(**spec), shape_from_config(config), VERSION, nodes)
    assert isinstance(found, Decision), found
    return found
