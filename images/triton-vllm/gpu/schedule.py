"""Runs cases in processes of their own: as many at once as there is room for on the GPUs, until the time is over."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backend.container.processes import adopt_orphans, processes
from gpu.cases import Case
from gpu.one import ROW, to_argument
from gpu.place import Place
from gpu.record import FAILED, NOT_HERE, NOT_RUN
from gpu.shapes import own_environment
from testing.server import HERE

# Time for a case to stop its servers after SIGTERM.
STOP_SECONDS = 20.0
# Rounding of shares.
EPSILON = 1e-6


@dataclass(slots=True)
class Running:
    """A case that runs."""

    case: Case
    place: Place
    process: subprocess.Popen[bytes]
    begun: float


@dataclass(slots=True)
class Room:
    """What is free of each GPU; `at_once` cases may run."""

    devices: Sequence[str]
    at_once: int

    def find(self, case: Case, running: Sequence[tuple[Case, Sequence[str]]]) -> tuple[str, ...] | None:
        """The GPUs that the case can have now, None when it must wait."""
        if len(running) >= self.at_once or (running and (case.alone or any(other.alone for other, _ in running))):
            return None
        free = {
            device: 1.0 - sum(other.share for other, devices in running if device in devices) for device in self.devices
        }
        fitting = [device for device in self.devices if free[device] >= case.share - EPSILON]
        # The emptiest first.
        fitting.sort(key=lambda device: -free[device])
        return tuple(sorted(fitting[: case.gpus])) if len(fitting) >= case.gpus else None


@dataclass(slots=True)
class Schedule:
    """`common`: what all places have in common; a folder for each case is made in its folder.

    `shared`: whether several small cases may use one GPU at once.
    """

    common: Place
    at_once: int
    shared: bool = True

    def run(self, cases: Sequence[Case], seconds: float) -> Iterator[dict[str, Any]]:
        """A row for each case, as soon as there is one. Nothing of any case runs when it has ended."""
        adopt_orphans()
        mine = children()
        deadline = time.monotonic() + seconds
        room, running = Room(self.common.devices, self.at_once), list[Running]()
        waiting = []
        for case in cases if self.shared else [replace(case, share=1.0) for case in cases]:
            if reason := self._lacking(case):
                yield {"case": case.name, "outcome": NOT_HERE, "seconds": 0.0, "openQuestions": [reason]}
            else:
                waiting.append(case)
        try:
            while waiting or running:
                for case in list(waiting):
                    if deadline - time.monotonic() < case.usual:
                        waiting.remove(case)
                        yield {"case": case.name, "outcome": NOT_RUN, "seconds": 0.0}
                    elif devices := room.find(case, [(one.case, one.place.devices) for one in running]):
                        waiting.remove(case)
                        running.append(self._begin(case, devices))
                    elif case.alone or case.gpus > 1:
                        break  # else it would wait until all the small ones have run
                yield from self._collect(running, deadline, mine)
                time.sleep(0.2)
        finally:
            for one in running:
                end(one.process)
            end_orphans(mine)

    def _lacking(self, case: Case) -> str:
        """What the host lacks for a case."""
        if self.common.on_cpu and not case.on_cpu:
            return "it needs a GPU"
        return f"it needs {case.gpus} GPUs" if case.gpus > len(self.common.devices) else ""

    def _begin(self, case: Case, devices: tuple[str, ...]) -> Running:
        folder = self.common.folder / re.sub(r"\W+", "-", case.name)
        shutil.rmtree(folder, ignore_errors=True)  # of a run before this one
        folder.mkdir(parents=True)
        place = replace(self.common, folder=folder, devices=devices, exclusive=case.share == 1.0)
        with (folder / "case.log").open("wb") as log:
            process = subprocess.Popen(
                self.command(place, case),
                cwd=HERE,
                env=own_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return Running(case, place, process, time.monotonic())

    def command(self, place: Place, case: Case) -> list[str]:
        """What runs a case, and writes its row."""
        return [sys.executable, "-m", "gpu.one", to_argument(place, case.name)]

    def _collect(self, running: list[Running], deadline: float, mine: set[int]) -> Iterator[dict[str, Any]]:
        for one in list(running):
            spent = time.monotonic() - one.begun
            late, over = spent > one.case.limit, time.monotonic() > deadline
            if one.process.poll() is None and not late and not over:
                continue
            if one.process.poll() is None:
                end(one.process)
            running.remove(one)
            end_orphans(mine | {other.process.pid for other in running})
            yield {"case": one.case.name, "devices": list(one.place.devices), **self._row(one, spent, late)}

    def _row(self, one: Running, spent: float, late: bool) -> dict[str, Any]:
        with contextlib.suppress(FileNotFoundError):
            found: dict[str, Any] = json.loads((one.place.folder / ROW).read_text())
            return found
        row = {"outcome": FAILED, "seconds": round(spent, 1)}
        if late:
            return {**row, "problems": [f"it did not end within {one.case.limit:g} s"]}
        if one.process.returncode == 128 + signal.SIGTERM:
            return {**row, "outcome": NOT_RUN, "openQuestions": ["the time was over before it had ended"]}
        return {
            **row,
            "problems": [f"its process ended with {one.process.returncode}: see {one.place.folder}/case.log"],
        }


def end(process: subprocess.Popen[bytes]) -> None:
    """Have a case stop its servers and end."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def children() -> set[int]:
    """Processes of which this one is the parent."""
    own = os.getpid()
    return {pid for pid, parent, _, _ in processes() if parent == own}


def end_orphans(others: set[int]) -> None:
    """Kill what cases have left: it has become a child of this process, beside `others`."""
    while orphans := children() - others:
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
