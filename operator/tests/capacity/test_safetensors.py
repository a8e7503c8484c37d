"""Headers of safetensors files: read without the tensors, and not trusted."""

from __future__ import annotations

from typing import Any

import pytest

from triton_vllm_operator.capacity import (
    ShapeError,
    TensorInfo,
    header_length,
    parse_header,
    shape_from_config,
)
from triton_vllm_operator.capacity.dtypes import SAFETENSORS_BITS
from triton_vllm_operator.capacity.model.json_reader import parse_json_object
from triton_vllm_operator.capacity.model.safetensors import MAX_HEADER_BYTES

from .samples import LLAMA_3_8B, entry, header


def test_names_dtypes_and_shapes_are_read() -> None:
    data = header({"__metadata__": {"format": "pt"}, "a": entry("BF16", 3, 5), "b": entry("F4", 8)})
    assert parse_header(data) == (TensorInfo("a", "BF16", (3, 5)), TensorInfo("b", "F4", (8,)))
    assert [tensor.size_bytes for tensor in parse_header(data)] == [30, 4]


def test_the_length_prefix_says_how_much_to_fetch() -> None:
    data = header({"a": entry("BF16", 3, 5)})
    assert header_length(data[:8]) == len(data) - 8


@pytest.mark.parametrize("kept", [0, 7, 8, 20])
def test_a_truncated_header_says_so(kept: int) -> None:
    with pytest.raises(ShapeError) as caught:
        parse_header(header({"a": entry("BF16", 3, 5)})[:kept])
    assert caught.value.reason == "SafetensorsTruncated"


def test_a_header_that_claims_terabytes_is_not_fetched() -> None:
    with pytest.raises(ShapeError) as caught:
        header_length((2**60).to_bytes(8, "little"))
    assert caught.value.reason == "SafetensorsHeaderInvalid"
    assert str(MAX_HEADER_BYTES) in str(caught.value)


LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 4976698672\n"


@pytest.mark.parametrize("kept", [8, 23, len(LFS_POINTER)])
def test_a_git_lfs_pointer_is_named(kept: int) -> None:
    with pytest.raises(ShapeError, match="is a Git LFS pointer, not the file itself; run `git lfs pull`") as caught:
        header_length(LFS_POINTER[:kept])
    assert caught.value.reason == "SafetensorsHeaderInvalid"


def test_a_configuration_that_is_a_git_lfs_pointer_is_named() -> None:
    for text in (LFS_POINTER, LFS_POINTER.decode()):
        with pytest.raises(ShapeError, match=r"config\.json is a Git LFS pointer") as caught:
            parse_json_object(text, "config.json")
        assert caught.value.reason == "ConfigNotJson"
    with pytest.raises(ShapeError, match=r"config\.json is not valid JSON"):
        parse_json_object("version 2", "config.json")


@pytest.mark.parametrize(
    "bad",
    [
        {"a": "not an object"},
        {"a": {"dtype": "BF17", "shape": [1]}},
        {"a": {"dtype": ["BF16"], "shape": [1]}},
        {"a": {"dtype": "BF16"}},
        {"a": {"dtype": "BF16", "shape": [-1]}},
        {"a": {"dtype": "BF16", "shape": [2**40]}},
        {"a": {"dtype": "BF16", "shape": [1.5]}},
        {"a": {"dtype": "BF16", "shape": [True]}},
        {"a": {"dtype": "BF16", "shape": [1] * 9}},
        {"": entry("BF16", 1)},
        {"x" * 600: entry("BF16", 1)},
    ],
)
def test_a_malformed_tensor_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ShapeError) as caught:
        parse_header(header(bad))
    assert caught.value.reason == "SafetensorsHeaderInvalid"
    assert len(str(caught.value)) < 300


def test_a_header_of_many_tensors_is_read_in_bounded_time() -> None:
    data = header({f"model.layers.{i}.mlp.up_proj.weight": entry("BF16", 2, 2) for i in range(20_000)})
    assert len(parse_header(data)) == 20_000


def test_more_tensors_than_any_model_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triton_vllm_operator.capacity.model.safetensors.MAX_TENSORS", 10)
    endless = (TensorInfo(f"model.layers.{i}.mlp.up_proj.weight", "BF16", (2,)) for i in range(10**9))
    with pytest.raises(ShapeError) as caught:
        shape_from_config(LLAMA_3_8B, endless)
    assert caught.value.reason == "TooManyTensors"


def test_bytes_by_dtype_are_the_files_own() -> None:
    tensors = [
        TensorInfo("model.norm.weight", "BF16", (40,)),
        TensorInfo("model.layers.0.mlp.up_proj.weight", "F8_E4M3", (6, 4)),
    ]
    shape = shape_from_config({**LLAMA_3_8B, "num_hidden_layers": 1}, tensors)
    assert dict(shape.bytes_by_dtype) == {"BF16": 80, "F8_E4M3": 24}
    assert shape.weights_source == "safetensors"


BITS = {
    4: ["F4"],
    6: ["F6_E2M3", "F6_E3M2"],
    8: ["BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"],
    16: ["I16", "U16", "F16", "BF16"],
    32: ["I32", "U32", "F32"],
    64: ["I64", "U64", "F64"],
}
"""Bits per element: https://github.com/huggingface/safetensors, enum `Dtype`."""


def test_every_dtype_of_the_format_has_its_size() -> None:
    assert {dtype: bits for bits, dtypes in BITS.items() for dtype in dtypes} == SAFETENSORS_BITS


@pytest.mark.parametrize(("bits", "dtypes"), BITS.items())
def test_the_bytes_of_a_tensor_follow_from_its_dtype(bits: int, dtypes: list[str]) -> None:
    for dtype in dtypes:
        assert TensorInfo("w", dtype, (4, 6)).size_bytes == 24 * bits // 8
