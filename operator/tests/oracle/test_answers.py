"""A walk that was stopped goes on, and an architecture that ends its process does not end it. No engine is asked."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.oracle import answers
from tests.oracle.answers import KeptAnswers, answers_of

ENGINE = """
import json, os, sys, time
for line in sys.stdin:
    case = json.loads(line)
    name = case["architecture"]
    if name == "Ends":
        sys.exit("out of memory")
    if name == "Hangs":
        time.sleep(60)
    print(json.dumps({"architecture": name, "process": os.getpid()}), flush=True)
"""


@pytest.fixture(autouse=True)
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in the place of `vllm_walk.py`."""
    program = tmp_path / "engine.py"
    program.write_text(ENGINE)
    monkeypatch.setattr(answers, "WALK", program)


def test_a_case_that_ends_its_process_is_answered_with_that() -> None:
    cases = [{"architecture": name} for name in ("One", "Ends", "Two", "Three")]
    one, ends, two, three = answers_of(sys.executable, cases, 30)
    assert ends["architecture"] == "Ends"
    assert "out of memory" in ends["error"]
    assert one["process"] != two["process"] == three["process"]


def test_a_case_that_does_not_end_is_answered_with_that() -> None:
    hangs, two = answers_of(sys.executable, [{"architecture": "Hangs"}, {"architecture": "Two"}], 1)
    assert "in at most 1 s" in hangs["error"]
    assert "error" not in two


def test_what_is_answered_is_not_asked_again(tmp_path: Path) -> None:
    path, one, two = tmp_path / "answers.jsonl", {"architecture": "One"}, {"architecture": "Two"}
    KeptAnswers(path).ask(sys.executable, "cpu", [one], 30)
    again = KeptAnswers(path)
    first = again.get("cpu", one)
    again.ask(sys.executable, "cpu", [one, two], 30)
    assert first == again.get("cpu", one) == KeptAnswers(path).get("cpu", one)
    assert KeptAnswers(path).get("cpu", two)
    assert again.get("cpu-previous", one) is None


def test_what_failed_is_asked_again_on_request(tmp_path: Path) -> None:
    path, cases = tmp_path / "answers.jsonl", [{"architecture": "One"}, {"architecture": "Ends"}]
    KeptAnswers(path).ask(sys.executable, "cpu", cases, 30)
    KeptAnswers(path).ask(sys.executable, "cpu", cases, 30)
    assert len(path.read_text().splitlines()) == 2
    KeptAnswers(path).ask(sys.executable, "cpu", cases, 30, failed=True)
    assert [json.loads(line)["case"] for line in path.read_text().splitlines()] == [*cases, cases[1]]


def test_a_line_that_was_cut_off_is_asked_again(tmp_path: Path) -> None:
    path, one = tmp_path / "answers.jsonl", {"architecture": "One"}
    KeptAnswers(path).ask(sys.executable, "cpu", [one], 30)
    path.write_text(path.read_text() + '{"variant": "cpu", "ca')
    kept = KeptAnswers(path)
    kept.ask(sys.executable, "cpu", [{"architecture": "Two"}], 30)
    assert len(path.read_text().splitlines()) == 2
