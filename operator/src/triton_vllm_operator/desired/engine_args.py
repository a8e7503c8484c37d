"""The engine's arguments, `model.json`: vLLM's names, with JSON types."""

import json
from typing import Any

from contract.media import DOMAINS_ARGUMENT
from contract.paths import MODEL_DIR
from triton_vllm_operator.api.spec import LLMDeployment

_NOT_ARGUMENTS = {"extra_args"}
"""Fields of `spec.engine` that are not an engine argument of the same name in snake_case."""


def engine_args(llm: LLMDeployment) -> dict[str, Any]:
    """Arguments of vLLM's AsyncEngineArgs. Typed fields override extra arguments."""
    source = llm.spec.model.source
    given: dict[str, Any] = llm.spec.engine.model_dump(exclude=_NOT_ARGUMENTS, exclude_none=True)
    typed = {"tensor_parallel_size": 1, **given}  # one worker per requested GPU
    aliases = llm.spec.server.open_ai.model_aliases
    identity = {
        "model": source.engine_model(MODEL_DIR),
        "served_model_name": [llm.model_name, *aliases] if aliases else llm.model_name,
    }
    revision = {"revision": source.revision} if source.revision else {}
    domains = llm.spec.server.open_ai.media_domains
    media = {DOMAINS_ARGUMENT: domains} if domains else {}
    return {**llm.spec.engine.extra_args, **typed, **media, **identity, **revision}


def model_json(llm: LLMDeployment) -> str:
    """The content of model.json, identical for equal arguments.

    Raises:
        ValueError: an extra argument is not a JSON value, for example NaN.
    """
    return json.dumps(engine_args(llm), indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"
