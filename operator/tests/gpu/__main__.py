"""Start the cases on this host's GPUs, one process per GPU, and print plan beside measured: `make bench-gpu`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from .compare import compare, read, table


def gpus() -> list[str]:
    """Numbers of the GPUs that may be used."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [number for number in given.split(",") if number]
    listed = subprocess.run(("nvidia-smi", "-L"), capture_output=True, text=True, check=True).stdout
    return [str(number) for number in range(len(listed.splitlines()))]


def measure(rows: Path, seconds: float, cases: list[str]) -> None:
    """Write a row for each case that has none yet."""
    from .cases import CASES

    done = {row["case"] for row in read(rows)} if rows.exists() else set()
    wanted = cases or [case.name for case in CASES]
    alone = [case.name for case in CASES if case.set == "main" and case.name in wanted and case.name not in done]
    pairs = [case.name for case in CASES if case.set == "two" and case.name in wanted and case.name not in done]
    found = gpus()
    with tempfile.TemporaryDirectory(prefix="bench-gpu-") as scratch:
        if alone:
            _run([[gpu] for gpu in found], alone, rows, Path(scratch), seconds)
        if pairs and len(found) > 1:
            _run([found[:2]], pairs, rows, Path(scratch), seconds)


def _run(groups: list[list[str]], cases: list[str], rows: Path, scratch: Path, seconds: float) -> None:
    command = (sys.executable, "-m", "tests.gpu.engine", str(rows), str(scratch), str(seconds), *cases)
    started = [subprocess.Popen(command, env=os.environ | {"CUDA_VISIBLE_DEVICES": ",".join(group)})
               for group in groups]  # fmt: skip
    for process in started:
        process.wait()


def main() -> int:
    """Measure, compare, and return by the exit code whether every plan holds."""
    parser = argparse.ArgumentParser(prog="bench-gpu", description=__doc__)
    parser.add_argument("--rows", type=Path, default=Path("gpu_rows.jsonl"), help="where rows are kept; done ones stay")
    parser.add_argument("--seconds", type=float, default=3600, help="no case is started after this time")
    parser.add_argument("--compare-only", action="store_true", help="start nothing, compare the rows that exist")
    parser.add_argument("cases", nargs="*", help="names of cases; all without any")
    options = parser.parse_args()
    if not options.compare_only:
        measure(options.rows.resolve(), options.seconds, options.cases)
    found = compare(read(options.rows))
    print(table(found))
    wrong = {one.row["case"]: one.wrong for one in found if one.wrong}
    for case, terms in wrong.items():
        print(f"{case}: {', '.join(terms)}")
    print(f"{len(found)} starts, {len(wrong)} outside their plan")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
