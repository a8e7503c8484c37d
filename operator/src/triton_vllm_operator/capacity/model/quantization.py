"""With which quantization method the engine loads a model."""

from triton_vllm_operator.capacity.memory.engine_settings import EngineSettings
from triton_vllm_operator.capacity.model.shape import ModelShape


def method_of(shape: ModelShape, settings: EngineSettings) -> str:
    """The method with which the engine loads the model; "" for none."""
    return settings.quantization or (shape.quantization.method if shape.quantization else "")
