"""Bad watch streams, many seeds: the whole of what `tests/controller/test_bad_streams.py` does in short."""

from __future__ import annotations

import logging

from tests.controller import test_bad_streams
from tests.fake import clock
from tests.faults.common import Row


def run(seed: int, runs: int) -> Row:
    """`runs` seeds beginning with `seed`."""
    logging.disable(logging.CRITICAL)  # every injected fault is a warning
    wrong: list[str] = []
    writes = requests = 0
    try:
        for number in range(seed, seed + runs):
            try:
                world = clock.run(test_bad_streams.live(number))
            except AssertionError as error:
                wrong.append(f"seed {number}: {error}")
            else:
                writes, requests = writes + len(world.api.writes), requests + world.transport.requests
    finally:
        logging.disable(logging.NOTSET)
    figures = f"seeds {seed} to {seed + runs - 1}: {writes} writes, {requests} requests"
    return Row("bad watch streams", f"{runs} runs", not wrong, "; ".join([figures, *wrong]))
