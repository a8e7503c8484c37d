"""The termination message of an inspection pod: written by `triton_vllm_operator.inspect`, read by the operator.

The kubelet keeps 4096 bytes of a termination message. A shape's JSON form is a few kB to 100 kB, and repeats itself:
compressed, the shape of every model known to us takes less than a quarter of that.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from dataclasses import dataclass

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.capacity import ModelShape, ShapeError, parse_json_object

FORMAT = "triton-vllm-operator/inspection/v1"
MESSAGE_BYTES = 4096
_MAX_SHAPE_BYTES = 2**20  # of the JSON form: a message of 4096 bytes could unpack to a thousand times its size

NO_RESULT = Reason.INSPECTION_FAILED
"""Reason of a pod that ended without a termination message of this format."""

# Failures with which the engine could not load the model either, so that a serving pod would hold GPUs for nothing.
DEFINITE = frozenset(
    {
        Reason.MODEL_NOT_FOUND,
        Reason.MODEL_GATED,
        Reason.TOKEN_REFUSED,
        Reason.REVISION_NOT_FOUND,
        Reason.FILE_MISSING,
        Reason.NOT_A_CAUSAL_MODEL,
        Reason.NEEDS_TRUST_REMOTE_CODE,
        # What the pod itself lacks is what a serving pod would lack too.
        Reason.SECRET_NOT_FOUND,
        Reason.SECRET_KEY_NOT_FOUND,
        Reason.CONFIG_MAP_NOT_FOUND,
        Reason.CONFIG_MAP_KEY_NOT_FOUND,
    }
)


@dataclass(frozen=True, slots=True)
class InspectedModel:
    """The model was read. `commit`: of the repository, "" for a claim."""

    commit: str
    shape: ModelShape


@dataclass(frozen=True, slots=True)
class Failure:
    """The model was not read: the reason, and a message with the fix."""

    reason: Reason
    message: str

    @property
    def definite(self) -> bool:
        """Whether the engine could not load the model either."""
        return self.reason in DEFINITE


InspectionResult = InspectedModel | Failure


def pack_shape(shape: ModelShape) -> str:
    """The shape's JSON form, compressed, in base64: for a termination message and for `status.model.shape`."""
    text = json.dumps(shape.to_json(), separators=(",", ":"), sort_keys=True)
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def unpack_shape(packed: str) -> ModelShape:
    """The shape that `pack_shape` wrote.

    Raises:
        ShapeError: for anything else.
    """
    try:
        inflate = zlib.decompressobj()
        text = inflate.decompress(base64.b64decode(packed, validate=True), _MAX_SHAPE_BYTES)
    except (binascii.Error, zlib.error) as error:
        raise ShapeError(Reason.SHAPE_UNREADABLE, f"the packed model shape is damaged: {error}") from error
    if not inflate.eof:
        raise ShapeError(
            Reason.SHAPE_UNREADABLE, f"the packed model shape is cut off or exceeds {_MAX_SHAPE_BYTES} bytes"
        )
    return ModelShape.from_json(parse_json_object(text, "packed model shape"))


def encode_result(result: InspectionResult) -> str:
    """The termination message, with a maximum of `MESSAGE_BYTES` bytes."""
    if isinstance(result, Failure):
        return _encoded(reason=str(result.reason), message=one_line(result.message))
    text = _encoded(commit=result.commit, shape=pack_shape(result.shape))
    if len(text) <= MESSAGE_BYTES:
        return text
    what = f"{result.shape.architecture[:80]}: the layers differ so much that their description exceeds "
    return encode_result(Failure(Reason.SHAPE_TOO_LARGE, f"{what}{MESSAGE_BYTES} bytes; the model is not planned."))


def decode_result(message: str) -> InspectionResult:
    """The result that a termination message holds.

    Raises:
        ShapeError: for a text that no inspection wrote.
    """
    body = parse_json_object(message, "termination message")
    if body.get("format") != FORMAT:
        raise ShapeError(Reason.INSPECTION_UNREADABLE, f"the termination message is not {FORMAT}")
    if "reason" in body:
        reason = Reason.parse(body["reason"])
        if reason is None:
            raise ShapeError(Reason.INSPECTION_UNREADABLE, "the reason in the termination message is not registered")
        return Failure(reason, str(body.get("message", "")))
    return InspectedModel(str(body.get("commit", "")), unpack_shape(str(body.get("shape", ""))))


def one_line(message: str) -> str:
    """Printable text in one line, short enough for a message even when all of it is escaped: it may be hostile."""
    return " ".join("".join(c if c.isprintable() else " " for c in message).split())[:600]


def _encoded(**fields: str) -> str:
    return json.dumps({"format": FORMAT, **fields}, separators=(",", ":"), ensure_ascii=True)
