"""All fault harnesses whole: `make faults`. Prints a table; exit 1 when anything missed its bound."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from e2e.cluster.images import binaries
from tests.apiserver.controlplane import ControlPlane, control_plane
from tests.apiserver.fixtures import install_crd
from tests.apiserver.kubelet import kubelet
from tests.builders.runs import RUNS
from tests.faults import drawn, kills, leaders, outages, streams
from tests.faults.common import PREFIX, Row
from tests.faults.proxy import FAULTS

Job = Callable[[], Row]
PROOFS = ("streams", "kills", "leaders", "outages", "drawn")
DRAWN = 300


def jobs(plane: ControlPlane, proofs: set[str], seed: int) -> list[Job]:
    """Every case, in an order that the seed shuffles: no case may lean on what ran before it."""
    found: list[Job] = []
    if "kills" in proofs:
        found += [lambda scenario=s: kills.run(plane, scenario) for s in kills.SCENARIOS]  # type: ignore[misc]
    if "leaders" in proofs:
        found += [lambda name=n: leaders.struck(plane, name) for n in leaders.BLOWS]  # type: ignore[misc]
        found.append(lambda: leaders.jumping_clock(plane))
    if "outages" in proofs:
        found += [lambda fault=f: outages.run(plane, fault) for f in FAULTS]  # type: ignore[misc]
    if "drawn" in proofs:
        found.append(lambda: drawn.run(plane, seed, DRAWN))
    random.Random(seed).shuffle(found)
    return found


@contextmanager
def served_plane() -> Iterator[ControlPlane]:
    with control_plane(binaries.api_server_programs(), prepare=install_crd) as plane, kubelet(plane, PREFIX):
        yield plane


def run(proofs: set[str], seed: int, parallel: int) -> list[Row]:
    rows: list[Row] = []
    if "streams" in proofs:
        rows.append(shown(streams.run(seed, RUNS)))
    if proofs - {"streams"}:
        with served_plane() as plane, ThreadPoolExecutor(parallel) as pool:
            rows += pool.map(lambda job: shown(job()), jobs(plane, proofs, seed))
    return rows


def shown(row: Row) -> Row:
    """Print a row as soon as it is known."""
    print(f"{'ok  ' if row.passed else 'MISS'}  {row.proof:24}  {row.case:34}  {row.figures}", flush=True)
    return row


def main() -> int:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="(%(default)s)")
    parser.add_argument("--only", choices=PROOFS, action="append", help="may be repeated; all when absent")
    parser.add_argument("--parallel", type=int, default=4, help="cases at the same time (%(default)s)")
    given = parser.parse_args()
    began = time.monotonic()
    rows = run(set(given.only or PROOFS), given.seed, given.parallel)
    missed = sorted(f"{row.proof}, {row.case}" for row in rows if not row.passed)
    minutes = (time.monotonic() - began) / 60
    proven = f"{len(rows) - len(missed)} of {len(rows)} proven in {minutes:.1f} min"
    print(f"seed {given.seed}: {proven}; missed: {missed or 'none'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
