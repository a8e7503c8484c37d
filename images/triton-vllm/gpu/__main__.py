"""Prove the serving image's promises on this host's GPUs: `make test-gpu`. The last line is the verdict.

Without a GPU, `--variant cpu` runs what also makes sense there with a tiny model: that proves this program.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import env as engine_env
from gpu import host, rows
from gpu.cases import CASES, Case, chosen
from gpu.document import document
from gpu.place import Place
from gpu.schedule import Schedule
from testing.server import NO_MULTICAST, end_cleanly_on_sigterm
from tools import documents

# On a CPU, so many cases could have two workers each.
CPU_DEVICES = ("0", "1")
CORES_A_CASE = 6
# GPUs with less memory are not shared: a small model with its KV cache takes 8 GiB.
SHARED_MIB = 40_000


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make test-gpu", description=__doc__)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="cases or groups, in this order")
    parser.add_argument("--list", action="store_true", help="print the names of the cases, run nothing")
    parser.add_argument("--rows", type=Path, default=Path("gpu_rows.jsonl"), help="where a row for each case is added")
    parser.add_argument(
        "--write", type=Path, metavar="ROWS", help="only write kept rows into operator/docs/performance.md"
    )
    parser.add_argument("--seconds", type=float, default=3600, help="what is not done after this time is not run")
    parser.add_argument("--variant", default="cuda", choices=engine_env.VARIANTS, help="the engine's environment")
    parser.add_argument("--logs", type=Path, help="where the logs of the cases are kept")
    parser.add_argument("--caches", type=Path, help="where compiled kernels are kept, for the next run too")
    parser.add_argument(
        "--clients", type=int, nargs="+", default=[], help="numbers of clients that speed is measured with"
    )
    parser.add_argument("--rounds", type=int, default=0, help="rounds in which speed is measured")
    parser.add_argument("--at-once", type=int, help="so many cases at once at most")
    parser.add_argument(
        "--no-multicast", action="store_true", help="no NVLink multicast: needed on hosts that others share"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Run the cases; the exit code is the verdict's."""
    options = parse(arguments)
    if options.list:
        for case in CASES:
            say(f"{case.name:<28} GPUs: {case.gpus}, about {case.usual:.0f} s{', alone' if case.alone else ''}")
        return 0
    if options.write:
        text = document(rows.read(options.write), [case.name for case in CASES])
        documents.write(documents.DOCS / "performance.md", "make test-gpu", text)
        return 0
    try:
        cases = chosen(options.only)
    except ValueError as error:
        say(str(error))
        return 64
    on_cpu = options.variant.startswith("cpu")
    found = [] if on_cpu else visible(host.devices(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    if not found and not on_cpu:
        say("no GPU can be used: nvidia-smi lists none; with --variant cpu this program runs what makes sense without")
        return 2
    return run(options, cases, found)


def run(options: argparse.Namespace, cases: Sequence[Case], found: list[host.Device]) -> int:
    """Run cases on the GPUs that were found, and print each as it ends; returns the exit code."""
    end_cleanly_on_sigterm()
    if options.no_multicast:
        os.environ.update(NO_MULTICAST)
    about = described(options.variant, found)
    say(", ".join(f"{name} {value}" for name, value in about.items() if name != "variables"))
    logs = options.logs or Path(tempfile.mkdtemp(prefix="test-gpu-"))
    schedule = Schedule(
        place(options, logs, found),
        at_once=options.at_once or max(1, (os.cpu_count() or 1) // CORES_A_CASE),
        shared=all(device.total >= SHARED_MIB for device in found),
    )
    own = []
    for row in schedule.run(cases, options.seconds):
        own.append(row)
        rows.add(options.rows, {"case": row["case"], **row, **about})
        say(rows.line(row))
    verdict, code = rows.verdict(own)
    say(f"logs: {logs}, rows: {options.rows}")
    if not code and options.logs is None:
        shutil.rmtree(logs)
    say(verdict)
    return code


def place(options: argparse.Namespace, logs: Path, found: Sequence[host.Device]) -> Place:
    """What the places of all cases have in common."""
    caches = options.caches or engine_env.cache_root() / "test-gpu"
    devices = CPU_DEVICES if options.variant.startswith("cpu") else tuple(device.index for device in found)
    paths = {"folder": logs.resolve(), "caches": caches.resolve(), "rows": options.rows.resolve()}
    return Place(
        variant=options.variant,
        devices=devices,
        exclusive=True,
        clients=tuple(options.clients),
        rounds=options.rounds,
        **paths,
    )


def visible(found: list[host.Device], given: str | None) -> list[host.Device]:
    """Those of the GPUs that this process may use, by the value of CUDA_VISIBLE_DEVICES."""
    if given is None:
        return found
    options = [word.strip() for word in given.split(",") if word.strip()]
    return [device for word in options for device in found if word in (device.index, device.uuid)]


def described(variant: str, found: list[host.Device]) -> dict[str, Any]:
    """The facts about the host that every row has."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "variant": variant,
        **host.described(found),
        "cores": os.cpu_count(),
        **host.versions(variant),
        "variables": {name: os.environ[name] for name in NO_MULTICAST if name in os.environ},
    }


def say(text: str) -> None:
    """A line at once."""
    print(text, flush=True)  # noqa: T201 - this is a command


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
