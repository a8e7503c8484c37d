"""Figures in the documents: tables and plots in Markdown, written between two markers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

DOCS = Path(__file__).parents[1] / "operator/docs"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [" | ".join(head), " | ".join("---" for _ in head), *(" | ".join(map(str, row)) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines) + "\n"


def plot(title: str, x: Sequence[object], y_title: str, lines: Sequence[Sequence[float]]) -> str:
    """Lines over `x` in the plot language that Markdown viewers draw (Mermaid)."""
    most = max(max(line) for line in lines)
    drawn = "".join(f"    line [{', '.join(f'{value:g}' for value in line)}]\n" for line in lines)
    return (
        f'```mermaid\nxychart-beta\n    title "{title}"\n    x-axis [{", ".join(map(str, x))}]\n'
        f'    y-axis "{y_title}" 0 --> {1.1 * most:.3g}\n{drawn}```\n'
    )


def write(document: Path, command: str, text: str) -> None:
    """Replace what stands between the markers of a command."""
    begin, end = f"<!-- figures: written by {command} -->", "<!-- end of figures -->"
    before, rest = document.read_text().split(begin)
    _, after = rest.split(end, 1)
    document.write_text(f"{before}{begin}\n\n{text}\n{end}{after}")
