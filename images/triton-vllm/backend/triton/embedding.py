"""What a request for an embedding may say, and the types of its values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from backend.engine.sampling_parameters import (
    PRIORITY,
    REQUEST_FIELDS,
    coerce,
    from_json_text,
    from_request_parameters,
    tokenization,
)
from backend.errors import BadRequest
from backend.triton.inputs import RequestedOutputs, TensorReader, read_flag, read_text
from contract.limits import RequestLimits

REQUEST = "embedding_request"
# vLLM's parameters of pooling for an embedding, and what may stand beside them.
POOLING: Mapping[str, Any] = MappingProxyType({"dimensions": int | None, "use_activation": bool | None})
KEYS = ("input", "pooling_params", *POOLING, *REQUEST_FIELDS)
# Inputs that ask for what an embedding does not have.
MEANINGLESS = ("stream", "return_finish_reason", "return_cumulative_logprob", "return_logprobs")


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """A prompt as vLLM takes it, the values of its PoolingParams, and how the prompt becomes tokens."""

    prompt: dict[str, Any]
    pooling: dict[str, Any]
    tokenization: dict[str, Any] = field(default_factory=dict)
    priority: int = 0


def read_embedding_request(text: str, limits: RequestLimits, context: int | None = None) -> EmbeddingRequest:
    """The request in the input `embedding_request`. Raises BadRequest, naming the key and what is allowed.

    `context`: the engine's max_model_len.
    """
    request = from_json_text(text, REQUEST)
    nested = request.get("pooling_params")
    if nested is not None and not isinstance(nested, dict):
        raise BadRequest(f"{REQUEST}: 'pooling_params' must be an object with {_list(POOLING)}")
    _only_known(request, KEYS, "")
    _only_known(nested or {}, POOLING, "pooling_params.")
    pooling: dict[str, Any] = {}
    for name, value in (*(nested or {}).items(), *((key, request[key]) for key in POOLING if key in request)):
        if name in pooling:
            raise BadRequest(f"{REQUEST}: {name!r} is set twice: leave it out of 'pooling_params'")
        # NVIDIA's OpenAI front end sends a list of one.
        first = value[0] if name == "dimensions" and isinstance(value, list) and len(value) == 1 else value
        pooling[name] = coerce(name, first, POOLING[name], what=REQUEST)
    given = [(name, hint) for name, hint in REQUEST_FIELDS.items() if name in request]
    own = {name: coerce(name, request[name], hint, what=REQUEST) for name, hint in given}
    priority = own.pop(PRIORITY, 0)
    prompt = _prompt(request.get("input"), limits)
    return EmbeddingRequest(prompt, pooling, tokenization(own, context, most=context), priority)


def read_embedding_inputs(read: TensorReader, request_parameters: str) -> RequestedOutputs:
    """The outputs that the request asks for. Raises BadRequest for an input that has no meaning for an embedding."""
    for name in MEANINGLESS:
        if read_flag(read, name, False):
            raise BadRequest(f"input '{name}' does not apply to '{REQUEST}': leave it out")
    if read("image") is not None:
        raise BadRequest(f"input 'image' does not apply to '{REQUEST}': leave it out")
    sampling = read_text(read, "sampling_parameters")
    named = {**from_request_parameters(request_parameters), **from_json_text(sampling or "{}")}
    for name in named:
        raise BadRequest(f"parameter '{name[:80]}' does not apply to '{REQUEST}'; its own keys are {_list(KEYS)}")
    return RequestedOutputs(
        num_input_tokens=read_flag(read, "return_num_input_tokens", False),
        num_output_tokens=read_flag(read, "return_num_output_tokens", False),
    )


def _only_known(values: Mapping[str, Any], known: Any, where: str) -> None:
    for key in values:
        if key not in known:
            raise BadRequest(f"{REQUEST}: unknown key '{where}{key[:80]}'; allowed: {_list(known)}")


def _prompt(value: Any, limits: RequestLimits) -> dict[str, Any]:
    if isinstance(value, str) and value:
        size = len(value.encode("utf-8", "surrogatepass"))
        _at_most(size, limits, "bytes")
        return {"prompt": value}
    if isinstance(value, list) and value and all(type(token) is int for token in value):
        _at_most(len(value), limits, "token ids")
        return {"prompt_token_ids": value}
    raise BadRequest(f"{REQUEST}: 'input' must be one text or a list of token ids (integers), and not empty")


def _at_most(size: int, limits: RequestLimits, what: str) -> None:
    if size > limits.max_prompt_bytes:
        raise BadRequest(f"{REQUEST}: 'input' has {size} {what}; at most {limits.max_prompt_bytes}")


def _list(names: Any) -> str:
    return ", ".join(names)
