"""Which fields a request of OpenAI's protocol may have, and what to write instead of one that it may not.

vLLM ignores fields that it does not know, so a client that misspells one, or uses the name of an older vLLM, gets an
answer that is not what it asked for.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

from backend.engine.sampling_parameters import NEW_NAMES
from backend.errors import BadRequest
from backend.settings import closest

# Set to `true`, fields that vLLM does not know are ignored, as vLLM itself does.
ALLOW_VARIABLE = "TRITON_VLLM_ALLOW_UNKNOWN_FIELDS"
# Fields of OpenAI's own API that do not change what is generated: nothing to do is all that they ask for.
WITHOUT_EFFECT = frozenset(
    {"metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "user"}
    | {"prediction", "prompt_cache_options"}
)
# ... and those that ask for what is done anyway when they have this value.
ALREADY: Mapping[str, Any] = MappingProxyType({"modalities": ["text"], "verbosity": "medium"})
# What OpenAI's own API calls otherwise now, and names of this image's other protocol.
INSTEAD: Mapping[str, str] = MappingProxyType(
    {
        **NEW_NAMES,
        "functions": "tools",
        "function_call": "tool_choice",
        "lora_name": "the adapter's name as 'model'",
        "text_input": "messages, prompt or input",
    }
)


# What each request calls the number of tokens, of which it has at least one.
LENGTHS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens")


def check_fields(request: Mapping[str, Any], known: Collection[str]) -> None:
    """Raises BadRequest for the first field that a request has and vLLM does not know. null counts as not set."""
    for name, value in request.items():
        if name in known or name in WITHOUT_EFFECT or value is None or ALREADY.get(name) == value:
            continue
        raise BadRequest(f"unknown field '{name[:80]}'. {_advice(name, known)}")


def _advice(name: str, known: Collection[str]) -> str:
    for same in LENGTHS if name in LENGTHS else ():
        if same in known:
            return f"Write {same}."
    if name in INSTEAD:
        return f"Write {INSTEAD[name]}."
    near = closest(name, set(known))
    return f"Correct its name{near}." if near else "Remove it."


def unknown_are_allowed(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether unknown fields are ignored."""
    return environment.get(ALLOW_VARIABLE, "").lower() in ("1", "true")
