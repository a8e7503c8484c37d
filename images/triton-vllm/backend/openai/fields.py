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
ALREADY: Mapping[str, Any] = MappingProxyType(
    {
        "modalities": ["text"],
        "verbosity": "medium",
        "return_documents": True,
        "stream_options": {"include_obfuscation": False},
        "stream_options.include_obfuscation": False,
    }
)
_NOTHING = object()
# What OpenAI's own API calls otherwise now, and names of this image's other protocol.
INSTEAD: Mapping[str, str] = MappingProxyType(
    {
        **NEW_NAMES,
        "functions": "tools",
        "function_call": "tool_choice",
        "lora_name": "the adapter's name as 'model'",
        "text_input": "messages, prompt or input",
        "return_documents": "nothing: documents are always returned",
        "rank_fields": "the text of these fields as documents",
        "response_format.schema": '{"type": "json_schema", "json_schema": {"name": NAME, "schema": SCHEMA}}',
        "response_format.json_schema.json_schema": "schema",
    }
)


_RENDERED = "It applies to vLLM's paths for rendered prompts, which are closed. Remove it."
# Fields that vLLM knows and does nothing for -> the values that ask for nothing, and what to do about others.
IDLE: Mapping[str, tuple[tuple[Any, ...], str]] = MappingProxyType(
    {
        "return_token_offsets": ((False,), _RENDERED),
        "mm_payload": (("tensors",), _RENDERED),
        "return_mm_kwargs": ((), _RENDERED),
        "text.verbosity": (("medium",), "Remove it: say in the prompt how long the answer should be."),
    }
)
# Types of tools that clients bring; others are tools of OpenAI's own servers.
CLIENT_TOOLS = ("function", "custom", "namespace")
# Parts of a message with an image, audio or video.
MEDIA = frozenset(
    {"image", "image_url", "image_embeds", "input_image", "audio_url", "audio_embeds", "input_audio", "video_url"}
    | {"image_pil"}
)

# What each request calls the number of tokens, of which it has at least one.
LENGTHS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens")


def check_fields(request: Mapping[str, Any], known: Collection[str]) -> None:
    """Raises BadRequest for the first field that a request has and vLLM does not know. null counts as not set."""
    for name, value in request.items():
        if name in known or name in WITHOUT_EFFECT or value is None or ALREADY.get(name) == value:
            continue
        raise BadRequest(f"unknown field '{name[:80]}'. {_advice(name, known)}")


def check_inner(request: Mapping[str, Any], inner: Mapping[str, Collection[str]]) -> None:
    """Raises BadRequest for the first key of an object in a request that vLLM does not know. `inner`: place -> keys.

    A place is a field, or a key of an object in it after a dot.
    """
    for place, known in inner.items():
        values = _at(request, place)
        for name, value in values.items() if isinstance(values, Mapping) else ():
            here = f"{place}.{name[:80]}"
            if name not in known and value is not None and ALREADY.get(here, _NOTHING) != value:
                advice = f"Write {INSTEAD[here]}." if here in INSTEAD else _advice(name, known)
                raise BadRequest(f"unknown field '{here}'. {advice}")


def check_idle(request: Mapping[str, Any]) -> None:
    """Raises BadRequest for a field that asks for what vLLM knows and does not do on the paths that are open."""
    for place, (nothing, advice) in IDLE.items():
        value = _at(request, place)
        if value is not None and value not in nothing:
            raise BadRequest(f"'{place}' has no effect. {advice}")
    if request.get("length_penalty") not in (None, 1) and request.get("use_beam_search") is not True:
        raise BadRequest("'length_penalty' has no effect without beam search. Set use_beam_search: true, or remove it.")


def check_tools(request: Mapping[str, Any]) -> None:
    """Raises BadRequest for a tool that neither the client nor the server has; vLLM would leave it out."""
    tools = request.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        kind = tool.get("type") if isinstance(tool, Mapping) else None
        if isinstance(kind, str) and kind not in CLIENT_TOOLS:
            raise BadRequest(
                f"'tools' has one of type '{kind[:80]}', which this server does not have. "
                "Remove it, or write it as one of type 'function' that the client calls."
            )


def check_media(messages: Any) -> None:
    """Raises BadRequest for a part of a message that a model which reads text only cannot read."""
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, Mapping) else None
        for part in content if isinstance(content, list) else ():
            kind = part.get("type") if isinstance(part, Mapping) else None
            if isinstance(kind, str) and kind in MEDIA:
                raise BadRequest(f"the model reads text only. Remove the part of type '{kind}'.")


def _at(request: Mapping[str, Any], place: str) -> Any:
    """The value at a place, None where there is none."""
    value: Any = request
    for name in place.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


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
