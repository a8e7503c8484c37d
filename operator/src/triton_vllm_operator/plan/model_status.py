"""`status.model`: what was read of the model, with the identity of the model that it was read for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.api.status import ModelStatus
from triton_vllm_operator.capacity import ShapeError
from triton_vllm_operator.plan.inspection_protocol import InspectedModel, pack_shape, unpack_shape


def model_status(llm: LLMDeployment, model: InspectedModel) -> ModelStatus:
    """Return `status.model`: figures for people, and the whole shape in its packed form."""
    shape = model.shape
    return ModelStatus(
        **llm.spec.model.source.identity(),
        commit=model.commit or None,
        architecture=shape.architecture,
        model_type=shape.model_type or None,
        dtype=shape.dtype,
        quantization=shape.quantization.method if shape.quantization else None,
        layers=len(shape.layers),
        attention_heads=shape.attention_heads,
        kv_heads=shape.kv_heads,
        vocab_size=shape.vocab_size,
        max_model_len=shape.default_max_len or shape.max_position,
        weights_bytes=sum(size for _, size in shape.bytes_by_dtype) or None,
        bytes_by_dtype=dict(shape.bytes_by_dtype) or None,
        shape=pack_shape(shape),
    )


def model_from_status(llm: LLMDeployment, model: Mapping[str, Any]) -> InspectedModel | None:
    """The model that `status.model` holds; None where it is of another model than the spec's, or of an older form."""
    if {key: model[key] for key in ("uri", "revision") if key in model} != llm.spec.model.source.identity():
        return None
    try:
        return InspectedModel(str(model.get("commit", "")), unpack_shape(str(model.get("shape", ""))))
    except ShapeError:
        return None
