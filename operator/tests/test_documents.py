"""Figures in documents: only what stands between the markers is replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.__main__ import EVERY_CHILD, Bench
from tools import documents

EMPTY = "before\n<!-- figures: written by make x -->\nold\n<!-- end of figures -->\nafter\n<!-- end of figures -->\n"


def test_only_the_figures_of_one_command_are_replaced(tmp_path: Path) -> None:
    document = tmp_path / "d.md"
    document.write_text(EMPTY)
    documents.write(document, "make x", "new\n")
    assert document.read_text() == EMPTY.replace("\nold\n", "\n\nnew\n\n")
    with pytest.raises(ValueError, match="unpack"):
        documents.write(document, "make y", "new\n")


def test_a_figure_above_its_bound_is_a_miss_and_the_last_line_says_which(capsys: pytest.CaptureFixture[str]) -> None:
    bench = Bench()
    bench.figure(300, EVERY_CHILD, 3.0, "s", 10)
    assert bench.verdict() == 0
    bench.figure(1000, EVERY_CHILD, 40.5, "s", 40)
    bench.figure(1000, "memory", 99.0, "MiB")
    assert bench.verdict() == 1
    assert capsys.readouterr().out.splitlines()[-1] == f"verdict: missed: {EVERY_CHILD} (1000)"
    assert bench.document().splitlines()[:4] == [
        "|  | 300 | 1000 |",
        "| --- | --- | --- |",
        f"| {EVERY_CHILD} (s) | 3.00 (at most 10) | 40.50 (at most 40) |",
        "| memory (MiB) |  | 99.00 |",
    ]
    assert "line [3, 40.5]" in bench.document()
    assert "line [99" not in bench.document()


def test_time_that_grows_faster_than_the_number_misses_its_bound() -> None:
    bench = Bench()
    bench.figure(300, EVERY_CHILD, 3.0, "s")
    bench.growth()
    bench.figure(3000, EVERY_CHILD, 45.0, "s")
    assert bench.verdict() == 0
    bench.growth()
    assert bench.verdict() == 1
    assert bench.figures[-1].value == pytest.approx(1.5)


def test_a_run_of_one_size_has_nothing_to_plot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text(EMPTY)
    monkeypatch.setattr(documents, "DOCS", tmp_path)
    bench = Bench()
    bench.figure(1000, "memory", 99.0, "MiB")
    bench.write("make x")
    assert "| memory (MiB) | 99.00 |\n\n<!-- end" in document.read_text()
    assert "mermaid" not in document.read_text()
