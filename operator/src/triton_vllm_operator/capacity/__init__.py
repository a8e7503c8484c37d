"""Capacity planning: whether a model fits a GPU, with the engine's own arithmetic, before a GPU is held.

Pure: no I/O besides the package's own tables, no clock, no randomness.

    shape = ModelShape.from_config(config, tensors)
    answer = plan(shape, EngineSettings(tensor_parallel_size=2), gpu_by_product("NVIDIA-L40S"))
"""

from .dra import gpu_of_dra_device
from .errors import ShapeError
from .gpus import (
    ClassUse,
    GPUClass,
    Holder,
    class_uses,
    gpu_by_product,
    gpu_classes,
    gpu_of_memory,
    gpu_of_node,
    gpus_offered,
    holders,
    is_by_dra,
)
from .overhead import Interval, Overhead
from .planner import Plan, Suggestion, plan
from .reading import parse_json_object
from .rules import QUANTIZATION_NOT_ON_GPU
from .safetensors import TensorInfo, header_length, parse_header
from .search import choose, suggest, with_suggestions
from .settings import EngineSettings, Resolved, resolve
from .shape import ModelShape
from .versions import EngineRules, rules_for

__all__ = [
    "QUANTIZATION_NOT_ON_GPU", "ClassUse", "EngineRules", "EngineSettings", "GPUClass", "Holder", "Interval",
    "ModelShape", "Overhead", "Plan", "Resolved", "ShapeError", "Suggestion", "TensorInfo", "choose", "class_uses",
    "gpu_by_product", "gpu_classes", "gpu_of_dra_device", "gpu_of_memory", "gpu_of_node", "gpus_offered",
    "header_length", "holders", "is_by_dra", "parse_header", "parse_json_object", "plan", "resolve", "rules_for",
    "suggest", "with_suggestions",
]  # fmt: skip
