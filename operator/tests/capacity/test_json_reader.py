"""Typed reads of untrusted JSON: which values each accepts, at and beyond its limits, and what its error names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from triton_vllm_operator.capacity import ShapeError, parse_json_object
from triton_vllm_operator.capacity.model import json_reader
from triton_vllm_operator.capacity.model.json_reader import Reader, check_size, lfs_problem

Read = Callable[[Reader], object]

ACCEPTED: list[tuple[Any, Read, object]] = [
    (7, lambda r: r.integer("k"), 7),
    (7.0, lambda r: r.integer("k"), 7),
    (1, lambda r: r.integer("k"), 1),
    (2**31, lambda r: r.integer("k"), 2**31),
    (None, lambda r: r.integer("k", 3), 3),
    (None, lambda r: r.integer("k", 0), 0),  # a default may lie outside the limits
    (0, lambda r: r.integer("k", 5, low=0), 0),
    (9, lambda r: r.integer("k", high=9), 9),
    (None, lambda r: r.optional_integer("k"), None),
    (7, lambda r: r.optional_integer("k"), 7),
    (1, lambda r: r.optional_integer("k"), 1),
    (2, lambda r: r.optional_integer("k", low=2, high=2), 2),
    (None, lambda r: r.number("k", 0.5), 0.5),
    (0, lambda r: r.number("k", 0.5), 0.0),
    (0.25, lambda r: r.number("k", 0.5), 0.25),
    (1e9, lambda r: r.number("k", 0.5), 1e9),
    (2, lambda r: r.number("k", 0.5, low=2, high=2), 2.0),
    (None, lambda r: r.boolean("k", True), True),
    (None, lambda r: r.boolean("k", False), False),
    (False, lambda r: r.boolean("k", True), False),
    (None, lambda r: r.text("k"), ""),
    (None, lambda r: r.text("k", "auto"), "auto"),
    ("", lambda r: r.text("k", "auto"), ""),
    ("x" * 512, lambda r: r.text("k"), "x" * 512),
    (None, lambda r: r.strings("k"), ()),
    (["a", "b"], lambda r: r.strings("k"), ("a", "b")),
    (None, lambda r: r.integers("k"), ()),
    ([0, 2**31], lambda r: r.integers("k"), (0, 2**31)),
    ([3, 4], lambda r: r.integers("k", low=3, high=4), (3, 4)),
    (None, lambda r: r.nested("k"), None),
    (None, lambda r: r.has("k"), False),
    (0, lambda r: r.has("k"), True),
    ({}, lambda r: r.is_object("k"), True),
    ([], lambda r: r.is_object("k"), False),
    (0, lambda r: r.raw("k"), 0),
]  # fmt: skip


@pytest.mark.parametrize(("value", "read", "expected"), ACCEPTED)
def test_a_valid_value_is_read(value: Any, read: Read, expected: object) -> None:
    found = read(Reader({"k": value}))
    assert (found, type(found)) == (expected, type(expected))
    if value is None:
        assert read(Reader({})) == expected, "an absent field and null are the same"


REFUSED: list[tuple[Any, Read, str, str]] = [
    (None, lambda r: r.integer("k"), "ConfigFieldMissing", "f.json has no 'k', which the planner needs"),
    (0, lambda r: r.integer("k"), "ConfigFieldOutOfRange", "f.json: k is 0, outside 1..2147483648"),
    (2**31 + 1, lambda r: r.integer("k"), "ConfigFieldOutOfRange", "f.json: k is 2147483649, outside 1..2147483648"),
    (-1, lambda r: r.integer("k", 5, low=0), "ConfigFieldOutOfRange", "f.json: k is -1, outside 0..2147483648"),
    (10, lambda r: r.integer("k", high=9), "ConfigFieldOutOfRange", "f.json: k is 10, outside 1..9"),
    (1.5, lambda r: r.integer("k"), "ConfigFieldWrongType", "f.json: k must be a whole number, not 1.5"),
    (True, lambda r: r.integer("k"), "ConfigFieldWrongType", "f.json: k must be a whole number, not True"),
    ("7", lambda r: r.integer("k"), "ConfigFieldWrongType", "f.json: k must be a whole number, not '7'"),
    (0, lambda r: r.optional_integer("k"), "ConfigFieldOutOfRange", "f.json: k is 0, outside 1..2147483648"),
    (1, lambda r: r.optional_integer("k", low=2), "ConfigFieldOutOfRange", "f.json: k is 1, outside 2..2147483648"),
    (4, lambda r: r.optional_integer("k", high=3), "ConfigFieldOutOfRange", "f.json: k is 4, outside 1..3"),
    (-0.1, lambda r: r.number("k", 1.0), "ConfigFieldOutOfRange", "f.json: k is -0.1, outside 0.0..1000000000.0"),
    (1e10, lambda r: r.number("k", 1.0), "ConfigFieldOutOfRange",
     "f.json: k is 10000000000.0, outside 0.0..1000000000.0"),
    (True, lambda r: r.number("k", 1.0), "ConfigFieldWrongType", "f.json: k must be a number, not True"),
    ("1", lambda r: r.number("k", 1.0), "ConfigFieldWrongType", "f.json: k must be a number, not '1'"),
    (1, lambda r: r.boolean("k", True), "ConfigFieldWrongType", "f.json: k must be true or false, not 1"),
    (1, lambda r: r.text("k"), "ConfigFieldWrongType", "f.json: k must be a short string, not 1"),
    ("x" * 513, lambda r: r.text("k"), "ConfigFieldWrongType",
     "f.json: k must be a short string, not '" + "x" * 59),
    ([], lambda r: r.nested("k"), "ConfigFieldWrongType", "f.json: k must be an object, not []"),
    ("ab", lambda r: r.strings("k"), "ConfigFieldWrongType", "f.json: k must be a list, not 'ab'"),
    (["a", 1], lambda r: r.strings("k"), "ConfigFieldWrongType",
     "f.json: k must be a list of strings, not ['a', 1]"),
    ([1, "a"], lambda r: r.integers("k"), "ConfigFieldWrongType",
     "f.json: k must be a list of whole numbers in 0..2147483648, not 'a'"),
    ([True], lambda r: r.integers("k"), "ConfigFieldWrongType",
     "f.json: k must be a list of whole numbers in 0..2147483648, not True"),
    ([2], lambda r: r.integers("k", low=3, high=4), "ConfigFieldWrongType",
     "f.json: k must be a list of whole numbers in 3..4, not 2"),
    ([5], lambda r: r.integers("k", low=3, high=4), "ConfigFieldWrongType",
     "f.json: k must be a list of whole numbers in 3..4, not 5"),
    ([-1], lambda r: r.integers("k"), "ConfigFieldWrongType",
     "f.json: k must be a list of whole numbers in 0..2147483648, not -1"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "read", "reason", "message"), REFUSED)
def test_an_invalid_value_is_named_with_its_file_and_field(value: Any, read: Read, reason: str, message: str) -> None:
    with pytest.raises(ShapeError) as caught:
        read(Reader({"k": value}, "f.json"))
    assert (caught.value.reason, str(caught.value)) == (reason, message)


def test_a_nested_object_is_named_by_its_path() -> None:
    inner = Reader({"outer": {"k": "no"}}).nested("outer")
    assert inner is not None
    assert inner.names() == ("k",)
    with pytest.raises(ShapeError, match=r"^config\.json: outer: k must be a whole number, not 'no'$"):
        inner.integer("k")


def test_the_first_name_with_a_value_counts() -> None:
    reader = Reader({"a": None, "b": 0, "c": 1})
    assert (reader.first("a", "b", "c"), reader.first("c", "b"), reader.first("a", "d")) == ("b", "c", None)


def deep(levels: int) -> dict[str, Any]:
    """An object with this many levels of objects and lists below it."""
    value: Any = 1
    for level in range(levels - 1):
        value = [value] if level % 2 else {"k": value}
    return {"k": value}


def test_the_limits_of_depth_and_size_are_exact() -> None:
    check_size(deep(json_reader.MAX_DEPTH), "f.json")
    with pytest.raises(ShapeError, match=r"^f\.json is nested deeper than 32 levels$") as caught:
        check_size(deep(json_reader.MAX_DEPTH + 1), "f.json")
    assert caught.value.reason == "ConfigTooDeep"
    check_size([0] * (json_reader.MAX_NODES - 1), "f.json")
    with pytest.raises(ShapeError, match=r"^f\.json holds more than 200000 values$") as caught:
        check_size([0] * json_reader.MAX_NODES, "f.json")
    assert caught.value.reason == "ConfigTooLarge"
    with pytest.raises(ShapeError, match=r"^f\.json: k must be a list"):
        Reader({"k": [0] * (json_reader.MAX_NODES + 1)}, "f.json").integers("k")
    assert len(Reader({"k": [0] * json_reader.MAX_NODES}).integers("k")) == json_reader.MAX_NODES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "f.json must be a JSON object, not list"),
        ("{", "f.json is not valid JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ('{"a": -Infinity}', "-Infinity is not a JSON number"),
        ('{"a": ' + "1" * 20 + "}", "a number of 20 digits is not a model dimension"),
        ('{"a":' * 100_000, "f.json is nested deeper than 32 levels"),
    ],
)
def test_what_is_wrong_with_a_text_is_named(text: str, message: str) -> None:
    with pytest.raises(ShapeError) as caught:
        parse_json_object(text, "f.json")
    assert str(caught.value) == message


def test_a_text_up_to_the_limits_is_read() -> None:
    padding = " " * (json_reader.MAX_TEXT_BYTES - 2)
    assert parse_json_object("{" + padding + "}", "f.json") == {}
    with pytest.raises(ShapeError, match=r"^f\.json has 16777217 bytes; at most 16777216 are read$"):
        parse_json_object("{ " + padding + "}", "f.json")
    assert parse_json_object('{"a": ' + "1" * 19 + "}", "f.json") == {"a": int("1" * 19)}


@pytest.mark.parametrize(
    ("beginning", "is_pointer"),
    [(b"version ", True), (b"version", False), (b"version 2", False), (b"version https://git-lfs.github.com", True)],
)
def test_a_git_lfs_pointer_is_known_by_its_first_eight_bytes(beginning: bytes, is_pointer: bool) -> None:
    expected = "f.json is a Git LFS pointer, not the file itself; run `git lfs pull` and copy the model again"
    assert lfs_problem(beginning, "f.json") == (expected if is_pointer else "")
