"""How progress is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from devtools import progress


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0s"), (59.4, "59s"), (60, "1m00s"), (754, "12m34s")])
def test_durations_are_minutes_and_seconds(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text


def test_a_log_file_has_no_spaces_in_its_name(tmp_path: Path) -> None:
    assert progress.log_file(tmp_path, "API server") == tmp_path / "API-server.log"
