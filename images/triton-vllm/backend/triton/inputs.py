"""The tensors of a request, and what they mean."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backend.engine.sampling_parameters import from_json_text, from_request_parameters
from backend.errors import BadRequest
from contract.limits import RequestLimits

if TYPE_CHECKING:
    from PIL.Image import Image

# Reads one input tensor as a flat sequence, None when the request has no such tensor.
TensorReader = Callable[[str], "Any | None"]


@dataclass(frozen=True, slots=True)
class RequestedOutputs:
    """The optional outputs that a request asks for."""

    finish_reason: bool = False
    cumulative_logprob: bool = False
    logprobs: bool = False
    num_input_tokens: bool = False
    num_output_tokens: bool = False


@dataclass(frozen=True, slots=True)
class Inputs:
    """A generate request as its tensors say it; sampling values are not checked yet."""

    text: str
    images: tuple[bytes, ...]
    stream: bool
    prepend_input: bool
    sampling: dict[str, Any]
    sampling_as_text: bool
    requested: RequestedOutputs


def read_inputs(read: TensorReader, request_parameters: str, limits: RequestLimits) -> Inputs:
    """The request's inputs. Raises BadRequest."""
    stream = _flag(read, "stream", False)
    sampling, as_text = _sampling(read, request_parameters)
    return Inputs(
        text=_prompt(read, limits),
        images=_images(read, limits),
        stream=stream,
        prepend_input=_prepend_input(read, stream),
        sampling=sampling,
        sampling_as_text=as_text,
        requested=RequestedOutputs(
            finish_reason=_flag(read, "return_finish_reason", False),
            cumulative_logprob=_flag(read, "return_cumulative_logprob", False),
            logprobs=_flag(read, "return_logprobs", False),
            num_input_tokens=_flag(read, "return_num_input_tokens", False),
            num_output_tokens=_flag(read, "return_num_output_tokens", False),
        ),
    )


def read_text(read: TensorReader, name: str) -> str | None:
    """A text tensor of one element, None when absent."""
    value = _single(read, name)
    if value is None:
        return None
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadRequest(f"input '{name}' is not UTF-8: {error.reason} at byte {error.start}") from None
    return str(value)


def _prompt(read: TensorReader, limits: RequestLimits) -> str:
    text = read_text(read, "text_input")
    if text is None:
        raise BadRequest("input 'text_input' is missing: set it to the prompt")
    if not text:
        raise BadRequest("input 'text_input' is empty: a prompt of at least one token is required")
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > limits.max_prompt_bytes:
        raise BadRequest(f"input 'text_input' has {size} bytes; at most {limits.max_prompt_bytes}")
    return text


def _sampling(read: TensorReader, request_parameters: str) -> tuple[dict[str, Any], bool]:
    """The tensor wins over Triton's request parameters; the two are not merged, except for the profile's name."""
    text = read_text(read, "sampling_parameters")
    second_door = from_request_parameters(request_parameters)
    if text is None:
        return second_door, True
    sampling = from_json_text(text)
    if "profile" in second_door:
        sampling.setdefault("profile", second_door["profile"])
    return sampling, False


def _prepend_input(read: TensorReader, stream: bool) -> bool:
    """Unset: the prompt comes before the text of a full response, and not in a stream."""
    exclude = _single(read, "exclude_input_in_output")
    prepend = not stream if exclude is None else not bool(exclude)
    if prepend and stream:
        raise BadRequest("When streaming, `exclude_input_in_output` = False is not allowed.")
    return prepend


def _images(read: TensorReader, limits: RequestLimits) -> tuple[bytes, ...]:
    values = read("image")
    if values is None:
        return ()
    if len(values) > limits.max_images:
        raise BadRequest(f"input 'image' has {len(values)} images; at most {limits.max_images}")
    try:
        return tuple(base64.b64decode(value, validate=True) for value in values)
    except (binascii.Error, ValueError) as error:
        raise BadRequest(f"input 'image' is not base64: {error}") from None


def open_images(images: tuple[bytes, ...]) -> list[Image]:
    """Decode images to RGB. Raises BadRequest when one is not an image, or has too many pixels."""
    from PIL import Image

    try:
        return [Image.open(io.BytesIO(data)).convert("RGB") for data in images]
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise BadRequest(f"input 'image' is not an image: {type(error).__name__}") from None


def _flag(read: TensorReader, name: str, default: bool) -> bool:
    value = _single(read, name)
    return default if value is None else bool(value)


def _single(read: TensorReader, name: str) -> Any | None:
    values = read(name)
    if values is None:
        return None
    if len(values) != 1:
        raise BadRequest(f"input '{name}' must have one element, not {len(values)}")
    return values[0]
