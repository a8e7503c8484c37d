"""The operator of `tests.apiserver.real` on a machine whose wall clock jumps an hour ahead and two hours back."""

from __future__ import annotations

import datetime
import sys
import threading
import time

from tests.apiserver.real import FakeProbe
from triton_vllm_operator.controller.main import start
from triton_vllm_operator.controller.reconcile import Reconciler
from triton_vllm_operator.controller.settings import Settings

JUMPS_S = ((3.0, 3600.0), (8.0, -3600.0))  # after so many seconds, the wall clock is so far ahead
_real_time = time.time


class Skew:
    ahead_s = 0.0


class SkewedDatetime(datetime.datetime):
    """Now, as the wall clock of this machine shows it."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> SkewedDatetime:
        return cls.fromtimestamp(time.time(), tz)


def jump(seconds: float) -> None:
    Skew.ahead_s = seconds


def skew() -> None:
    """Let the wall clock jump; the clocks that count seconds since boot go on, as on a real machine."""
    time.time = lambda: _real_time() + Skew.ahead_s
    datetime.datetime = SkewedDatetime  # type: ignore[misc]
    for after, ahead in JUMPS_S:
        threading.Timer(after, jump, [ahead]).start()


if __name__ == "__main__":
    skew()
    start(Reconciler.make(FakeProbe()).reconcile, Settings.from_arguments(sys.argv[1:]))
