"""The engine's arguments, `model.json`: vLLM's own names, real JSON types."""

import json
from typing import Any

from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.desired.contract import MODEL_DIR

# Fields of spec.engine that are not an engine argument of the same name in snake_case.
_NOT_ARGUMENTS = {"extra_args"}


def engine_args(llm: LLMDeployment) -> dict[str, Any]:
    """Arguments of vLLM's AsyncEngineArgs; typed fields come after, and so win over, extra arguments."""
    source = llm.spec.model.source
    given: dict[str, Any] = llm.spec.engine.model_dump(exclude=_NOT_ARGUMENTS, exclude_none=True)
    typed = {"tensor_parallel_size": 1, **given}  # as many workers as GPUs were asked for
    identity = {"model": source.engine_model(MODEL_DIR), "served_model_name": llm.model_name}
    revision = {"revision": source.revision} if source.revision else {}
    return {**llm.spec.engine.extra_args, **typed, **identity, **revision}


def model_json(llm: LLMDeployment) -> str:
    """The text of model.json, the same for the same arguments.

    Raises:
        ValueError: an extra argument is not a JSON value (not a number, for example).
    """
    return json.dumps(engine_args(llm), indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"
