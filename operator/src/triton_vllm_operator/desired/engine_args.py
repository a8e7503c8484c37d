"""The engine's arguments, `model.json`: vLLM's own names, real JSON types."""

import json
from typing import Any

from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.desired.contract import MODEL_DIR

# Fields of spec.engine that are not an engine argument of the same name in snake_case.
_NOT_ARGUMENTS = {"extra_args"}


def source(llm: LLMDeployment) -> tuple[str, str | None]:
    """What vLLM loads: (repository id or absolute path, revision or None)."""
    uri = llm.spec.model.uri
    if uri.startswith("pvc://"):
        return MODEL_DIR, None
    repository, _, revision = uri.removeprefix("hf://").partition("@")
    return repository, revision or llm.spec.model.revision


def claim(llm: LLMDeployment) -> tuple[str, str] | None:
    """(claim name, path inside it or "") of a pvc:// model, else None."""
    uri = llm.spec.model.uri
    if not uri.startswith("pvc://"):
        return None
    name, _, path = uri.removeprefix("pvc://").partition("/")
    return name, path.strip("/")


def engine_args(llm: LLMDeployment) -> dict[str, Any]:
    """Arguments of vLLM's AsyncEngineArgs; typed fields come after, and so win over, extra arguments."""
    model, revision = source(llm)
    given: dict[str, Any] = llm.spec.engine.model_dump(exclude=_NOT_ARGUMENTS, exclude_none=True)
    typed = {"tensor_parallel_size": 1, **given}  # as many workers as GPUs were asked for
    identity = {"model": model, "served_model_name": llm.model_name} | ({"revision": revision} if revision else {})
    return {**llm.spec.engine.extra_args, **typed, **identity}


def model_json(llm: LLMDeployment) -> str:
    """The text of model.json, the same for the same arguments.

    Raises:
        ValueError: an extra argument is not a JSON value (not a number, for example).
    """
    return json.dumps(engine_args(llm), indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"
