"""Capacity planning: whether a model fits a GPU, with the engine's own arithmetic, before a GPU is held.

Pure: no I/O except reading the package's own tables, no clock, no randomness.

    shape = shape_from_config(config, tensors)
    answer = plan(shape, EngineSettings(tensor_parallel_size=2), gpu_by_product("NVIDIA-L40S"))
"""

from triton_vllm_operator.capacity.errors import ShapeError
from triton_vllm_operator.capacity.gpus.dra import gpu_of_dra_device
from triton_vllm_operator.capacity.gpus.nodes import allocatable_gpus, gpu_classes, gpu_of_node, is_dra_only
from triton_vllm_operator.capacity.gpus.products import GPUClass, gpu_by_product, gpu_of_memory
from triton_vllm_operator.capacity.gpus.usage import ClassUsage, GPUPod, gpu_pods, usage_by_class
from triton_vllm_operator.capacity.memory.engine_settings import EngineSettings, Resolved, resolve
from triton_vllm_operator.capacity.memory.host import HostLimits, host_account, host_status, judge_host
from triton_vllm_operator.capacity.memory.overhead import Interval, Overhead
from triton_vllm_operator.capacity.memory.planner import Plan, Suggestion, plan
from triton_vllm_operator.capacity.memory.suggestions import choose, with_suggestions
from triton_vllm_operator.capacity.model.from_config import shape_from_config
from triton_vllm_operator.capacity.model.json_reader import parse_json_object
from triton_vllm_operator.capacity.model.safetensors import TensorInfo, header_length, parse_header
from triton_vllm_operator.capacity.model.shape import ModelShape

__all__ = [
    "ClassUsage",
    "EngineSettings",
    "GPUClass",
    "GPUPod",
    "HostLimits",
    "Interval",
    "ModelShape",
    "Overhead",
    "Plan",
    "Resolved",
    "ShapeError",
    "Suggestion",
    "TensorInfo",
    "allocatable_gpus",
    "choose",
    "gpu_by_product",
    "gpu_classes",
    "gpu_of_dra_device",
    "gpu_of_memory",
    "gpu_of_node",
    "gpu_pods",
    "header_length",
    "host_account",
    "host_status",
    "is_dra_only",
    "judge_host",
    "parse_header",
    "parse_json_object",
    "plan",
    "resolve",
    "shape_from_config",
    "usage_by_class",
    "with_suggestions",
]
