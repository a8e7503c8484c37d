"""The termination message of an inspection pod, in both directions, and what of it is kept in the status."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import replace
from typing import Any

import pytest

from tests.builders.deployments import llm
from tests.inspect.files import shape
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.capacity import ShapeError
from triton_vllm_operator.capacity.model.shape import Quantization
from triton_vllm_operator.plan.inspection_protocol import (
    DEFINITE,
    FORMAT,
    Failure,
    InspectedModel,
    decode_result,
    encode_result,
    one_line,
    pack_shape,
    unpack_shape,
)
from triton_vllm_operator.plan.model_status import model_from_status, model_status

SHAPE = shape()


def packed(content: bytes) -> str:
    """As `pack_shape` packs."""
    return base64.b64encode(zlib.compress(content)).decode()


def test_messages_are_json_objects_of_this_form() -> None:
    failure = json.loads(encode_result(Failure(Reason.MODEL_GATED, "Give a\ntoken.")))
    assert failure == {"format": FORMAT, "reason": "ModelGated", "message": "Give a token."}
    model = json.loads(encode_result(InspectedModel("c" * 40, SHAPE)))
    assert model == {"format": FORMAT, "commit": "c" * 40, "shape": pack_shape(SHAPE)}
    assert unpack_shape(model["shape"]) == SHAPE
    assert encode_result(Failure(Reason.MODEL_GATED, "ü")).isascii()


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_comes_back(reason: Reason) -> None:
    result = decode_result(encode_result(Failure(reason, "x")))
    assert result == Failure(reason, "x")
    assert isinstance(result, Failure)
    assert result.definite is (reason in DEFINITE)


def test_parts_that_are_left_out_are_empty() -> None:
    assert decode_result(json.dumps({"format": FORMAT, "reason": "ModelGated"})) == Failure(Reason.MODEL_GATED, "")
    text = json.dumps({"format": FORMAT, "shape": pack_shape(SHAPE)})
    assert decode_result(text) == InspectedModel("", SHAPE)


@pytest.mark.parametrize(
    ("text", "reason", "message"),
    [
        ("!", "ShapeUnreadable", "the packed model shape is damaged: "),
        (base64.b64encode(b"not compressed").decode(), "ShapeUnreadable", "the packed model shape is damaged: "),
        (pack_shape(SHAPE)[:40], "ShapeUnreadable", "the packed model shape is cut off or exceeds 1048576 bytes"),
        (packed(b" " * (2**20 + 1)), "ShapeUnreadable", "the packed model shape is cut off or exceeds 1048576 bytes"),
        (packed(b"[]"), "ConfigNotJson", "packed model shape must be a JSON object, not list"),
        (packed(b"{}"), "ShapeFormatUnknown", "model shape: format must be"),
    ],
)
def test_a_packed_shape_that_is_damaged_says_what_is_wrong(text: str, reason: str, message: str) -> None:
    with pytest.raises(ShapeError) as caught:
        unpack_shape(text)
    assert caught.value.reason == reason
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("body", "reason", "message"),
    [
        ({}, "InspectionUnreadable", f"the termination message is not {FORMAT}"),
        ({"format": FORMAT, "reason": "New"}, "InspectionUnreadable",
         "the reason in the termination message is not registered"),
        ([], "ConfigNotJson", "termination message must be a JSON object, not list"),
    ],
)  # fmt: skip
def test_another_message_says_what_is_wrong(body: Any, reason: str, message: str) -> None:
    with pytest.raises(ShapeError) as caught:
        decode_result(json.dumps(body))
    assert (caught.value.reason, str(caught.value)) == (reason, message)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a  b\n\tc ", "a b c"),
        ("a\x1b[31mb", "a [31mb"),
        ("a\u202eb", "a b"),
        ("", ""),
        ("ü€", "ü€"),
        ("x" * 600, "x" * 600),
        ("x" * 601, "x" * 600),
    ],
)
def test_hostile_text_becomes_one_printable_line(text: str, line: str) -> None:
    assert one_line(text) == line


def test_the_status_has_the_figures_of_the_model() -> None:
    read = replace(
        SHAPE,
        model_type="",
        max_position=4096,
        default_max_len=None,
        quantization=Quantization("fp8", 8),
        bytes_by_dtype=(("BF16", 10), ("F32", 7)),
    )
    status = model_status(llm(model={"uri": "hf://org/model@v1"}), InspectedModel("c" * 40, read))
    found = status.to_json()
    assert found.pop("shape") == pack_shape(read)
    assert found == {
        "uri": "hf://org/model",
        "revision": "v1",
        "commit": "c" * 40,
        "architecture": read.architecture,
        "dtype": read.dtype,
        "quantization": "fp8",
        "layers": len(read.layers),
        "attentionHeads": read.attention_heads,
        "kvHeads": read.kv_heads,
        "vocabSize": read.vocab_size,
        "maxModelLen": 4096,
        "weightsBytes": 17,
        "bytesByDtype": {"BF16": 10, "F32": 7},
    }


def test_what_is_not_known_of_the_model_is_not_in_the_status() -> None:
    claim = llm(model={"uri": "pvc://models/llama"})
    read = replace(SHAPE, model_type="llama", default_max_len=512, quantization=None, bytes_by_dtype=())
    found = model_status(claim, InspectedModel("", read)).to_json()
    assert {"revision", "commit", "quantization", "weightsBytes", "bytesByDtype"}.isdisjoint(found)
    assert (found["uri"], found["modelType"], found["maxModelLen"]) == ("pvc://models/llama", "llama", 512)
    assert model_from_status(claim, found) == InspectedModel("", read)
