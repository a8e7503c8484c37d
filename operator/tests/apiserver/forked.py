"""Operators that are copies of a process with everything imported: importing takes longer than all the rest of a start.

Each is a process of its own, with its own signals and log, that runs what `python -m tests.apiserver.real` runs.
"""

from __future__ import annotations

import ctypes
import functools
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from unittest import mock

_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


class ForkedProcess:
    """A started copy, with the methods of `subprocess.Popen` that tests use."""

    def __init__(self, arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self._process = _server(tuple(sorted(environment.items()))).Process(
            target=_run, args=(list(arguments), str(log)), daemon=True
        )
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def terminate(self) -> None:
        self._process.terminate()

    def wait(self, timeout: float | None = None) -> int:
        """The exit code; subprocess.TimeoutExpired if the process does not end in time."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("operator", timeout or 0.0)
        return self._process.exitcode


@functools.cache
def _server(environment: tuple[tuple[str, str], ...]) -> ForkServerContext:
    """The process that is copied: one for all tests of a pytest process. It ends with that."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.apiserver.real"])
    with mock.patch.dict(os.environ, dict(environment), clear=True):
        forkserver.ensure_running()
    return context


def _run(arguments: list[str], log: str) -> None:
    """What a copy does."""
    os.setsid()
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(file, sys.stdout.fileno())
    os.dup2(file, sys.stderr.fileno())
    from tests.apiserver.real import main

    main(arguments)
