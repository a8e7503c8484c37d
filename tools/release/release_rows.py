"""Adds and replaces rows of catalog/data/releases.yaml as text, so that its comments and its order stay."""

import re
from datetime import date

import yaml

from tools.release.matrix import ReleaseFacts

_ROW = re.compile(r"^  - .*\n(?:    .*\n)*", re.MULTILINE)


def row_text(release: str, facts: ReleaseFacts, source: str, today: date) -> str:
    """The row of a release of NVIDIA as the file writes it."""
    lines = [
        ("release", f'"{release}"'),
        ("line", "nvidia"),
        ("triton", facts.triton),
        ("serverCode", f'"{release}"'),
        ("vllm", facts.vllm),
        ("build", facts.build),
        ("cuda", facts.cuda),
        ("listedDriver", f'"{facts.driver}"' if facts.driver else None),
        ("forwardCompat", "true"),
        ("checked", today.isoformat()),
        ("source", source),
    ]
    written = [f"{key}: {value}" for key, value in lines if value is not None]
    return "  - " + "\n    ".join(written) + "\n"


def with_row(text: str, release: str, facts: ReleaseFacts, source: str, today: date) -> str:
    """The file with a row for the release: a new one above NVIDIA's newest, or the old one with the facts added.

    A fact that the file has and the source does not is kept. The same text when nothing is new.
    """
    for found in _ROW.finditer(text):
        row = yaml.safe_load(found[0])[0]
        if row["release"] == release:
            return _replaced(text, found, facts, source, today)
    first = next(found for found in _ROW.finditer(text) if yaml.safe_load(found[0])[0]["line"] == "nvidia")
    start = _above_comments(text, first.start())
    return text[:start] + row_text(release, facts, source, today) + text[start:]


def with_source(text: str, page: str, today: date) -> str:
    """The file with the page that the matrix was read from, and the day of it."""
    text = re.sub(r"^  matrix: .*$", f"  matrix: {page}", text, count=1, flags=re.MULTILINE)
    return re.sub(r"^checked: .*$", f"checked: {today.isoformat()}", text, count=1, flags=re.MULTILINE)


def _replaced(text: str, found: re.Match[str], facts: ReleaseFacts, source: str, today: date) -> str:
    row = yaml.safe_load(found[0])[0]
    keys = {"vllm": "vllm", "build": "build", "cuda": "cuda", "driver": "listedDriver", "triton": "triton"}
    old = {name: str(row[key]) if key in row else None for name, key in keys.items()}
    new = {name: getattr(facts, name) or value for name, value in old.items()}
    if new == old:
        return text
    return text[: found.start()] + row_text(row["release"], ReleaseFacts(**new), source, today) + text[found.end() :]


def _above_comments(text: str, start: int) -> int:
    """Where the comment lines directly above a row begin."""
    while (line := text[:start].rstrip("\n").rpartition("\n")[2]).startswith("  #"):
        start -= len(line) + 1
    return start
