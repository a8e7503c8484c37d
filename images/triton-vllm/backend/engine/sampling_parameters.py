"""Sampling parameters: from the values of a request to vLLM's SamplingParams.

The names and types are read from vLLM's own class, never from a list of ours. Two doors lead here: the tensor
`sampling_parameters` (JSON text) and Triton's request parameters (strings, integers, booleans and floats only, so
that a list arrives as JSON text there).
"""

from __future__ import annotations

import copy
import dataclasses
import json
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from backend.errors import BadRequest
from backend.patches.checked_requests import NO_PRIORITIES
from backend.settings import BadModel, SamplingSettings, closest
from contract import files
from contract.limits import RequestLimits
from contract.parameters import ALIASES

# Written by us or by vLLM itself, never by a client.
INTERNAL_FIELDS = frozenset({"output_kind", "skip_clone", "output_text_buffer_length"})
# What vLLM takes for max_tokens where nothing sets it, in Triton's protocols and for completions.
UNSET_MAX_TOKENS = 16
# Not sampling parameters of vLLM: the LoRA adapter and the named profile of a request.
EXTRA_NAMES = ("lora_name", "profile")
# Names of older versions of vLLM and of other servers -> what to write instead.
NEW_NAMES: Mapping[str, str] = types.MappingProxyType(
    {
        "guided_json": '"structured_outputs": {"json": SCHEMA}',
        "guided_regex": '"structured_outputs": {"regex": PATTERN}',
        "guided_choice": '"structured_outputs": {"choice": [TEXT, ...]}',
        "guided_grammar": '"structured_outputs": {"grammar": GRAMMAR}',
        "guided_json_object": '"structured_outputs": {"json_object": true}',
        "guided_whitespace_pattern": '"structured_outputs": {..., "whitespace_pattern": PATTERN}',
        "guided_decoding": "structured_outputs",
        "guided_decoding_backend": "structured_outputs_config in the engine's arguments (spec.engine.extraArgs)",
        "best_of": "n",
        "stop_sequences": "stop",
        "stop_words": "stop",
        "random_seed": "seed",
        "num_return_sequences": "n",
        "length_penalty": "nothing instead: beam search is not available",
        "use_beam_search": "nothing instead: beam search is not available",
        "early_stopping": "nothing instead: beam search is not available",
        "beam_width": "nothing instead: beam search is not available",
        "max_completion_tokens": "max_tokens",
        "max_output_tokens": "max_tokens",
        "max_length": "max_tokens",
        "top_logprobs": "logprobs",
        "response_format": '"structured_outputs": {"json": SCHEMA}',
    }
)
# Parameters of a request that vLLM has beside its SamplingParams: how the prompt becomes tokens, and when it is run.
PRIORITY = "priority"
PROMPT_FIELDS: Mapping[str, Any] = types.MappingProxyType(
    {"truncate_prompt_tokens": int | None, "truncation_side": str | None, "add_special_tokens": bool}
)
REQUEST_FIELDS: Mapping[str, Any] = types.MappingProxyType({**PROMPT_FIELDS, PRIORITY: int})
# vLLM ignores it where the engine has none.
NO_WATERMARKS = (
    "'watermarking' must not be true: the engine has no watermark. "
    "Leave it out, or set watermark_config in the engine's arguments (spec.engine.extraArgs)"
)
# Triton's own request parameters, and what its front ends add.
TRITON_PARAMETERS = frozenset(
    {"id", "timeout", "sequence_id", "sequence_start", "sequence_end", "binary_data_output"}
    | {"triton_enable_empty_final_response"}
)


@dataclass(frozen=True, slots=True)
class Sampling:
    """What one request asks for. `values`: for SamplingParams; `tokenization`: of `PROMPT_FIELDS`."""

    values: dict[str, Any]
    lora_name: str | None = None
    tokenization: dict[str, Any] = field(default_factory=dict)
    priority: int = 0


@dataclass(frozen=True, slots=True)
class SamplingRules:
    """Builds the parameters of a request: its own values, then its profile, then defaults, then the model's own.

    `settings`: of the right types already, see `typed_settings`; `context`: the engine's max_model_len; `watermarks`:
    whether it has a watermark; `priorities`: whether it schedules requests by their priority.
    """

    fields: Mapping[str, Any]
    settings: SamplingSettings = field(default_factory=SamplingSettings)
    limits: RequestLimits = field(default_factory=RequestLimits)
    model_defaults: Mapping[str, Any] = field(default_factory=dict)
    context: int | None = None
    watermarks: bool = False
    priorities: bool = False

    def build(self, requested: Mapping[str, Any], *, as_text: bool = False) -> Sampling:
        """Values for SamplingParams, each of its field's type. `as_text`: lists may come as JSON text.

        Raises BadRequest, naming the parameter and what is allowed.
        """
        own = dict(requested)
        profile = self.profile_name(own.pop("profile", None))
        lora_name = _optional_text("lora_name", own.pop("lora_name", None))
        given = typed(own, self.fields, as_text=as_text)
        self.check_limits(given)
        # The engine may write into a list that it is given: the settings' own stays as it is.
        levels = copy.deepcopy((self.profile(profile), self.settings.defaults, self.model_defaults))
        values = {**unset(given, levels, self.context), **given}
        self.check_available(values)
        if "max_tokens" not in values and values.get("min_tokens", 0) > UNSET_MAX_TOKENS:
            values["max_tokens"] = values["min_tokens"]
        priority = values.pop(PRIORITY, 0)
        return Sampling(values, lora_name, tokenization(values, self.context), priority)

    def profile_name(self, value: Any) -> str | None:
        """What a request gives as its profile. Raises BadRequest when it is not a string."""
        return _optional_text("profile", value)

    def profile(self, name: str | None) -> Mapping[str, Any]:
        """The values of a profile, none for None. Raises BadRequest, naming those that there are."""
        if name is None:
            return {}
        if name not in self.settings.profiles:
            known = ", ".join(sorted(self.settings.profiles)) or "none is configured"
            raise BadRequest(f"unknown sampling profile {name[:80]!r}; allowed: {known}")
        return self.settings.profiles[name]

    def check_available(self, values: Mapping[str, Any]) -> None:
        """Raises BadRequest for what this engine would ignore."""
        if values.get("watermarking") is True and not self.watermarks:
            raise BadRequest(NO_WATERMARKS)
        if values.get(PRIORITY) not in (None, 0) and not self.priorities:
            raise BadRequest(NO_PRIORITIES)

    def check_limits(self, values: Mapping[str, Any]) -> None:
        """Raises BadRequest for more than one request may ask for."""
        limits = self.limits
        for name in ("logprobs", "prompt_logprobs"):
            if values.get(name) == -1 and limits.max_logprobs is not None:
                raise BadRequest(
                    f"sampling parameter '{name}' must be at most {limits.max_logprobs}, not -1, which is all"
                )
        _at_most("n", values.get("n"), limits.max_n)
        _at_most("logprobs", values.get("logprobs"), limits.max_logprobs)
        _at_most("prompt_logprobs", values.get("prompt_logprobs"), limits.max_logprobs)
        for name in ("stop", "stop_token_ids", "bad_words", "allowed_token_ids", "logit_bias"):
            value = values.get(name)
            if isinstance(value, (list, dict)) and len(value) > limits.max_list:
                raise BadRequest(f"sampling parameter '{name}' has {len(value)} entries; at most {limits.max_list}")


def unset(given: Mapping[str, Any], levels: Iterable[Mapping[str, Any]], context: int | None = None) -> dict[str, Any]:
    """Values that a request with the values `given` leaves to the `levels` of defaults; the first has precedence.

    They yield to what the request says and to what the engine can do. `context`: the engine's max_model_len.
    """
    found = dict(given)
    for values in levels:
        found.update(_yielding({name: value for name, value in values.items() if name not in found}, found, context))
    return {name: value for name, value in found.items() if name not in given}


def _yielding(values: Mapping[str, Any], given: Mapping[str, Any], context: int | None) -> dict[str, Any]:
    """`values` of one level, without what contradicts the values `given` or exceeds the context.

    vLLM rejects a request for what one parameter says about another: the one that the client has not set gives way.
    """
    found = dict(values)
    longest, shortest = _length(given, "max_tokens"), _length(given, "min_tokens")
    for name in ("max_tokens", "min_tokens"):
        if (length := _length(found, name)) is not None:
            found[name] = length if context is None else min(length, context)
    if longest is not None and (length := _length(found, "min_tokens")) is not None:
        found["min_tokens"] = min(length, longest)
    if shortest is not None and (length := _length(found, "max_tokens")) is not None:
        found["max_tokens"] = max(length, shortest)
    # Greedy sampling has one result.
    if found.get("temperature") == 0 and (_length(given, "n") or 1) > 1:
        del found["temperature"]
    for name, prevents in (("n", given.get("temperature") == 0), ("stop", given.get("detokenize") is False)):
        if prevents:
            found.pop(name, None)
    if given.get("stream") is True:
        found.pop("prompt_logprobs", None)
    return found


def _length(values: Mapping[str, Any], name: str) -> int | None:
    value = values.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def tokenization(values: dict[str, Any], context: int | None, most: int | None = None) -> dict[str, Any]:
    """Take the values of `PROMPT_FIELDS` out of `values`: the arguments with which vLLM makes tokens of the prompt.

    `context`: the engine's max_model_len; `most`: what -1 stands for, by default one token less than the context, which
    leaves room for an answer. Raises BadRequest.
    """
    found = {name: values.pop(name) for name in PROMPT_FIELDS if name in values}
    length = found.get("truncate_prompt_tokens")
    if length is not None and (length < -1 or length == 0):
        raise BadRequest(
            f"parameter 'truncate_prompt_tokens' must be a number of tokens from 1, or -1 for the context, not {length}"
        )
    if length == -1 and context is not None:
        found["truncate_prompt_tokens"] = context - 1 if most is None else most
    return found


def typed(values: Mapping[str, Any], fields: Mapping[str, Any], *, as_text: bool = False) -> dict[str, Any]:
    """Each value as the type of its field, under the field's own name. Raises BadRequest."""
    found: dict[str, Any] = {}
    for given, value in values.items():
        name = ALIASES.get(given, given)
        if name not in fields:
            raise BadRequest(f"unknown sampling parameter '{given[:80]}'{_instead(given, fields)}")
        if name in found:
            raise BadRequest(f"sampling parameters '{given}' and '{name}' mean the same: set only one of them")
        found[name] = coerce(name, value, fields[name], as_text=as_text)
    return found


def _instead(name: str, fields: Mapping[str, Any]) -> str:
    """What to write instead of an unknown name, and all that are known."""
    known = {*fields, *EXTRA_NAMES, *ALIASES}
    hint = f" (write {NEW_NAMES[name]})" if name in NEW_NAMES else closest(name, known)
    return f"{hint}; allowed: {', '.join(sorted([*fields, *EXTRA_NAMES]))}"


def typed_settings(settings: SamplingSettings, fields: Mapping[str, Any]) -> SamplingSettings:
    """The same with values of their fields' types. Raises BadModel: every request would fail."""
    try:
        profiles = {name: typed(values, fields) for name, values in settings.profiles.items()}
        return SamplingSettings(typed(settings.defaults, fields), profiles)
    except BadRequest as error:
        raise BadModel(f"{files.SAMPLING}: {error}") from None


def parameter_fields(params_type: type) -> dict[str, Any]:
    """Name -> annotation of every field of SamplingParams that a client may set, and of `REQUEST_FIELDS`."""
    hints = typing.get_type_hints(params_type)
    own = {
        name: hint
        for name, hint in hints.items()
        if not name.startswith("_") and name not in INTERNAL_FIELDS and _is_plain(hint)
    }
    return {**own, **REQUEST_FIELDS}


def _is_plain(hint: Any) -> bool:
    """Whether JSON can say it: numbers, text, lists, objects and dataclasses of them."""
    origin = typing.get_origin(hint)
    if origin is None:
        return hint in (int, float, bool, str, dict, list, Any, type(None)) or dataclasses.is_dataclass(hint)
    return all(_is_plain(part) for part in typing.get_args(hint))


def from_json_text(text: str, what: str = "sampling_parameters") -> dict[str, Any]:
    """The JSON object in `text`; raises BadRequest when it is not one."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"{what} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadRequest(f"{what} must be a JSON object, not {_kind(value)}")
    return value


def from_request_parameters(text: str) -> dict[str, Any]:
    """The second door: Triton's request parameters without Triton's own."""
    values = from_json_text(text or "{}", "request parameters")
    return {name: value for name, value in values.items() if name not in TRITON_PARAMETERS}


def coerce(name: str, value: Any, hint: Any, *, as_text: bool = False, what: str = "sampling parameter") -> Any:
    """`value` as the type `hint`; numbers and booleans may come as text. Raises BadRequest, naming `what` it is."""
    try:
        return _coerce(value, hint, as_text)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        wanted = describe(hint)
        detail = f" ({error})" if str(error) else ""
        raise BadRequest(f"{what} '{name}' must be {wanted}, not {_kind(value)}{detail}") from None


def describe(hint: Any) -> str:
    """A type in words."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe(part) for part in parts if part is not type(None))
    if origin is list:
        return f"a list of {describe(parts[0])}"
    if origin is dict:
        return "an object"
    words = {int: "an integer", float: "a number", bool: "a boolean", str: "text", dict: "an object"}
    return words.get(hint, f"a {getattr(hint, '__name__', hint)} object")


def _coerce(value: Any, hint: Any, as_text: bool) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _coerce_union(value, typing.get_args(hint), as_text)
    if origin is list:
        return [_coerce(item, typing.get_args(hint)[0], False) for item in _as_list(value, as_text)]
    if origin is dict:
        key_hint, value_hint = typing.get_args(hint)
        items = _as_object(value).items()
        return {_coerce(key, key_hint, True): _coerce(item, value_hint, False) for key, item in items}
    if hint is Any:
        return value
    return _SCALARS[hint](value) if hint in _SCALARS else _as_dataclass(value, hint)


def _coerce_union(value: Any, hints: tuple[Any, ...], as_text: bool) -> Any:
    if value is None:
        if type(None) in hints:
            return None
        raise ValueError
    # A list given as text must not be taken for plain text: lists are tried first.
    ordered = sorted(
        (h for h in hints if h is not type(None)),
        key=lambda hint: not _is_list(hint) if as_text else hint is not str,
    )
    for position, hint in enumerate(ordered):
        try:
            return _coerce(value, hint, as_text)
        except (ValueError, TypeError, OverflowError):
            if position == len(ordered) - 1:
                raise
    raise ValueError


def _is_list(hint: Any) -> bool:
    return typing.get_origin(hint) is list


def _as_list(value: Any, as_text: bool) -> list[Any]:
    if as_text and isinstance(value, str):
        value = json.loads(value)
    if isinstance(value, (list, tuple)):
        return list(value)
    raise ValueError


def _as_object(value: Any) -> dict[Any, Any]:
    if isinstance(value, str):
        value = json.loads(value)
    if isinstance(value, dict):
        return value
    raise ValueError


def _as_dataclass(value: Any, hint: Any) -> Any:
    if not dataclasses.is_dataclass(hint) or not isinstance(hint, type):
        raise ValueError
    values = _as_object(value)
    known = [f.name for f in dataclasses.fields(hint) if f.init and not f.name.startswith("_")]
    unknown = [key for key in values if key not in known]
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r}; allowed: {', '.join(known)}")
    return hint(**values)


def _as_int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError
    number = int(value)
    if number != (float(value) if isinstance(value, str) else value):
        raise ValueError
    if not -(2**63) <= number < 2**63:
        raise ValueError("at most 64 bits")
    return number


def _as_float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError
    return float(value)


def _as_bool(value: Any) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if isinstance(value, bool) or value in (0, 1):
        return bool(value)
    raise ValueError


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise ValueError


_SCALARS: dict[Any, Callable[[Any], Any]] = {
    int: _as_int,
    float: _as_float,
    bool: _as_bool,
    str: _as_text,
    dict: _as_object,
    list: lambda value: _as_list(value, False),
}


def _kind(value: Any) -> str:
    """What a JSON value is, without its content: a message may reach a log."""
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return repr(value)[:40]
    return names.get(type(value), type(value).__name__)


def _optional_text(name: str, value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise BadRequest(f"parameter '{name}' must be text, not {_kind(value)}")


def _at_most(name: str, value: Any, limit: int | None) -> None:
    if limit is not None and isinstance(value, int) and value > limit:
        raise BadRequest(f"sampling parameter '{name}' must be at most {limit}, not {value}")
