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

# Of all images of a request: three bytes each when they are decoded. Pillow's own limit for one image.
MAX_PIXELS = 178_956_970
# The head of a data URI ends within so many bytes.
MAX_URI_HEAD = 256
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
    stream = read_flag(read, "stream", False)
    sampling, as_text = _sampling(read, request_parameters)
    return Inputs(
        text=_prompt(read, limits),
        images=_images(read, limits),
        stream=stream,
        prepend_input=_prepend_input(read, stream),
        sampling=sampling,
        sampling_as_text=as_text,
        requested=RequestedOutputs(
            finish_reason=read_flag(read, "return_finish_reason", False),
            cumulative_logprob=read_flag(read, "return_cumulative_logprob", False),
            logprobs=read_flag(read, "return_logprobs", False),
            num_input_tokens=read_flag(read, "return_num_input_tokens", False),
            num_output_tokens=read_flag(read, "return_num_output_tokens", False),
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


def read_timeout(request_parameters: str, microseconds: int) -> float:
    """Triton's own parameter `timeout`, which is in microseconds, as seconds; 0 when the request has none.

    `microseconds`: what tritonserver has made of it, where it takes the parameter itself. Raises BadRequest.
    """
    given = from_json_text(request_parameters or "{}", "request parameters").get("timeout", microseconds)
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given < 2**63:
        raise BadRequest("parameter 'timeout' must be a number of microseconds")
    return given / 1e6


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
    return tuple(_image_bytes(value) for value in values)


def _image_bytes(value: Any) -> bytes:
    """The file in an element of `image`: base64, which may have line breaks, or a data URI of it."""
    data = value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
    scheme, found, rest = data[:MAX_URI_HEAD].partition(b":")
    if found and scheme.lower() in (b"http", b"https", b"file", b"s3", b"gs"):
        raise BadRequest(
            f"input 'image' is a URL ({scheme.decode()}:...); send the image itself: its base64, or a data URI"
        )
    if found and scheme.lower() == b"data":
        head, comma, _ = rest.partition(b",")
        if not comma or not head.lower().endswith(b";base64"):
            raise BadRequest("input 'image' is a data URI without base64; write data:image/png;base64,...")
        data = data[data.index(b",") + 1 :]
    try:
        return base64.b64decode(b"".join(data.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest(f"input 'image' is not base64 or a data URI of it: {error}") from None


def open_images(images: tuple[bytes, ...]) -> list[Image]:
    """Decode images to RGB. Raises BadRequest when one is not an image, or when they have too many pixels."""
    from PIL import Image

    try:
        opened = [Image.open(io.BytesIO(data)) for data in images]
        pixels = sum(image.width * image.height for image in opened)
        if pixels <= MAX_PIXELS:
            return [image.convert("RGB") for image in opened]
    except Exception as error:  # noqa: BLE001 - the decoders raise what they like for a broken file
        raise BadRequest(f"input 'image' is not an image: {type(error).__name__}") from None
    raise BadRequest(f"input 'image' has {pixels} pixels; at most {MAX_PIXELS} in a request")


def read_flag(read: TensorReader, name: str, default: bool) -> bool:
    """A boolean tensor of one element, `default` when absent."""
    value = _single(read, name)
    return default if value is None else bool(value)


def _single(read: TensorReader, name: str) -> Any | None:
    values = read(name)
    if values is None:
        return None
    if len(values) != 1:
        raise BadRequest(f"input '{name}' must have one element, not {len(values)}")
    return values[0]
