"""`status.model`: what was read of the model, with the identity of the model that it was read for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.capacity import ShapeError
from triton_vllm_operator.plan.inspection_protocol import InspectedModel, pack_shape, unpack_shape


def model_status(llm: LLMDeployment, model: InspectedModel) -> dict[str, Any]:
    """`status.model`: figures for people, and the whole shape in its packed form."""
    shape = model.shape
    found: dict[str, Any] = {
        **llm.spec.model.source.identity(),
        "commit": model.commit or None,
        "architecture": shape.architecture,
        "modelType": shape.model_type or None,
        "dtype": shape.dtype,
        "quantization": shape.quantization.method if shape.quantization else None,
        "layers": len(shape.layers),
        "attentionHeads": shape.attention_heads,
        "kvHeads": shape.kv_heads,
        "vocabSize": shape.vocab_size,
        "maxModelLen": shape.default_max_len or shape.max_position,
        "weightsBytes": sum(size for _, size in shape.bytes_by_dtype) or None,
        "bytesByDtype": dict(shape.bytes_by_dtype) or None,
        "shape": pack_shape(shape),
    }
    return {key: value for key, value in found.items() if value is not None}


def model_from_status(llm: LLMDeployment, model: Mapping[str, Any]) -> InspectedModel | None:
    """The model that `status.model` holds; None where it is of another model than the spec's, or of an older form."""
    if {key: model[key] for key in ("uri", "revision") if key in model} != llm.spec.model.source.identity():
        return None
    try:
        return InspectedModel(str(model.get("commit", "")), unpack_shape(str(model.get("shape", ""))))
    except ShapeError:
        return None
