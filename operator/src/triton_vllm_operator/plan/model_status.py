"""`status.model`: what was read of the model, with the identity of the model that it was read for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.capacity import ShapeError
from triton_vllm_operator.plan.inspection_protocol import InspectedModel, pack_shape, unpack_shape


def model_identity(llm: LLMDeployment) -> dict[str, str]:
    """What identifies the model that the spec names: the first fields of `status.model`."""
    uri, _, inside = llm.spec.model.uri.partition("@")
    revision = inside or llm.spec.model.revision
    return {"uri": uri} | ({"revision": revision} if revision else {})


def is_pinned(llm: LLMDeployment) -> bool:
    """Whether the spec names a commit, so that what was read of it once stays true."""
    identity = model_identity(llm)
    revision = identity.get("revision", "")
    return identity["uri"].startswith("hf://") and re.fullmatch(r"[0-9a-f]{40}", revision) is not None


def model_status(llm: LLMDeployment, model: InspectedModel) -> dict[str, Any]:
    """`status.model`: figures for people, and the whole shape in its packed form."""
    shape = model.shape
    found: dict[str, Any] = {
        **model_identity(llm),
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
    if {key: model[key] for key in ("uri", "revision") if key in model} != model_identity(llm):
        return None
    try:
        return InspectedModel(str(model.get("commit", "")), unpack_shape(str(model.get("shape", ""))))
    except ShapeError:
        return None
