"""Waiting for a condition."""

from __future__ import annotations

from devtools.polling import wait_for


def test_waiting_ends_with_the_condition_or_the_time() -> None:
    answers = iter([False, False, True])
    assert wait_for(lambda: next(answers), 60, pause=0.001)
    assert not wait_for(lambda: False, 0.02, pause=0.001)
