"""The maker of hostile requests, and what counts as a fault; the server is for `make fuzz`."""

from __future__ import annotations

import json
import re

import pytest

import fuzz.__main__ as fuzzing
from fuzz.cases import Case, make, mark
from fuzz.doors import Outcome

NAMES = ["temperature", "max_tokens", "n", "stop"]


def test_a_seed_and_a_number_make_always_the_same_request() -> None:
    cases = [make(7, number, NAMES) for number in range(300)]
    assert cases == [make(7, number, NAMES) for number in range(300)]
    assert {case.door for case in cases} == {"http", "openai", "grpc"}
    assert len({case.wire for case in cases}) > 290
    assert any(mark(7, 3) in case.wire for case in cases[3:4])


def test_a_case_survives_its_file() -> None:
    for number in range(100):
        case = make(8, number, NAMES)
        assert Case(**json.loads(case.as_json())) == case


@pytest.mark.parametrize(
    ("outcome", "faulty"),
    [
        (Outcome("200", ""), False),
        (Outcome("400", "no"), False),
        (Outcome("500", "oops"), True),
        (Outcome("500", fuzzing.KNOWN[0]), False),
        (Outcome("INTERNAL", ""), True),
        (Outcome("OK", f"{fuzzing.UNEXPECTED}: x"), True),
        (Outcome("INVALID_ARGUMENT", ""), False),
        (Outcome("hang", ""), True),
        (Outcome("", "closed"), True),
        (Outcome("refused", ""), True),
    ],
)
def test_what_counts_as_a_fault(outcome: Outcome, faulty: bool) -> None:
    assert bool(fuzzing.judge(Case("x", "http", ""), outcome)) is faulty
    assert fuzzing.judge(Case("x", "http", "", leave=True), outcome) == ""


def test_what_is_no_request_need_not_be_answered() -> None:
    assert fuzzing.judge(Case("x", "http", "", sound=False), Outcome("", "closed")) == ""


def test_kept_findings_can_be_read() -> None:
    assert all(case.door in ("http", "openai", "grpc") for case in fuzzing.kept())


@pytest.mark.parametrize(
    ("log", "found"),
    [
        ("all is well", 0),
        ("Traceback (most recent call last):", 1),
        ("failed to send a response\nTraceback", 2),
        ("(EngineCore pid=7) ERROR Traceback", 0),
        (f"(EngineCore pid=7) ERROR {mark(7, 12)}", 1),
        (mark(8, 12), 0),
    ],
)
def test_what_must_not_be_in_the_log(log: str, found: int) -> None:
    assert len(fuzzing.in_log(log, 7)) == found


def test_every_door_and_kind_of_request_is_tried() -> None:
    cases = [make(9, number, NAMES) for number in range(2000)]
    wires = [case.wire for case in cases if case.sound]
    for path in ("generate ", "generate_stream ", "infer ", "chat/completions ", "v1/completions ", "/tokenize "):
        assert any(wire.split("HTTP")[0].endswith(path) for wire in wires), path
    binary = [wire for wire in wires if "/infer " in wire and "Inference-Header-Content-Length" in wire]
    assert any('"binary_data_size"' in wire for wire in binary)
    assert {"ModelInfer", "ModelStreamInfer"} <= {case.method.rsplit("/")[-1] for case in cases}
    assert any(case.metadata for case in cases)
    assert not any("triton_grpc_error" in case.metadata for case in cases)


def test_every_task_is_tried() -> None:
    wires = [case.wire for case in (make(9, number, NAMES) for number in range(3000))]
    for words in (
        "embedding_request",
        "POST /pooling",
        "POST /v1/embeddings",
        "image_url",
        "lora_name",
        "stop_token_ids",
    ):
        assert any(words in wire for wire in wires), words
    assert sum("embedding_request" in make(9, number, NAMES, 12).wire for number in range(500)) > 100


def test_an_id_that_a_client_chooses_has_no_word_that_must_not_be_in_the_log() -> None:
    wires = [case.wire for case in (make(9, number, NAMES) for number in range(4000)) if case.door == "openai"]
    ids = [found for wire in wires for found in re.findall(r'"request_id": "([^"]*)"', wire)]
    assert any("chosen" in one for one in ids)
    assert not any(mark(9, 0)[:-3] in one for one in ids)
