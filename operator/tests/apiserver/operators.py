"""Operators as processes: start, kill, pause, ask."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from devtools import cache
from tests.apiserver.controlplane import ORPHANED, free_ports
from tests.apiserver.forked import ForkedProcess

OPERATOR = Path(__file__).parents[2]  # the folder that holds the package `tests`
SOURCES = os.pathsep.join([str(OPERATOR), str(OPERATOR / "src")])
"""The package of this tree comes before one that is installed."""
REAL = ("-c", "from triton_vllm_operator.controller.main import main; main()")
TOY = ("-m", "tests.apiserver.toy")
# Compiling all that it imports takes an operator three times as long as starting.
BYTECODE = cache.root() / "bytecode"
PROVEN = ("-m", "tests.apiserver.real")  # the real reconcile with a probe that always succeeds


LIMIT_S = 60.0  # generous: these tests prove what happens; how fast is measured by `make bench-operator`


def eventually(what: str, done: Callable[[], bool], limit_s: float = LIMIT_S, every_s: float = 0.1) -> float:
    """Wait until `done()`; the seconds it took. AssertionError with `what` after `limit_s`."""
    began = time.monotonic()
    while time.monotonic() - began < limit_s:
        if done():
            return time.monotonic() - began
        time.sleep(every_s)
    raise AssertionError(f"not within {limit_s:.0f} s: {what}")


def _value(metrics: str, name: str) -> float:
    lines = (line for line in metrics.splitlines() if line.startswith(f"{name} "))
    return next((float(line.split()[-1]) for line in lines), 0.0)


@dataclass
class OperatorProcess:
    """One operator. Its log grows over restarts."""

    kubeconfig: Path
    log: Path
    program: Sequence[str] = REAL
    options: Sequence[str] = ()
    sources: str = SOURCES
    forked: bool = False
    """Whether PROVEN is started as a copy of a process that has imported it. It starts in a third of the time."""
    handle: subprocess.Popen[bytes] | ForkedProcess | None = None
    port: int = 0

    def start(self) -> None:
        (self.port,) = free_ports(1)
        arguments = ["--kubeconfig", str(self.kubeconfig), "--http-host", "127.0.0.1", "--http-port", str(self.port)]
        arguments += self.options
        environment = {**os.environ, "PYTHONPATH": self.sources, "PYTHONPYCACHEPREFIX": str(BYTECODE)}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        if self.forked and (self.program, self.sources) == (PROVEN, SOURCES):
            environment.pop("PYTEST_CURRENT_TEST", None)
            self.handle = ForkedProcess(arguments, self.log, environment)
            return
        command = [*ORPHANED, sys.executable, *self.program, *arguments]
        with self.log.open("ab") as log:
            self.handle = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)

    def send(self, number: signal.Signals) -> None:
        assert self.handle is not None
        self.handle.send_signal(number)

    def kill(self) -> None:
        """SIGKILL and reap; nothing when it does not run."""
        if self.handle is not None:
            self.handle.kill()
            self.handle.wait()
            self.handle = None

    def stop(self, limit_s: float = 20.0) -> int:
        """SIGTERM; the exit code."""
        assert self.handle is not None
        self.handle.terminate()
        code = self.handle.wait(limit_s)
        self.handle = None
        return code

    def get(self, path: str) -> tuple[int, str]:
        """HTTP status and text of a path on the health port; (0, "") without an answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=15) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def leads(self) -> bool:
        return self.metric("triton_vllm_operator_leader") == 1.0

    def metric(self, name: str) -> float:
        """Value of a metric, labels as in the exposition (sorted by name); 0 if it is missing or nothing answers."""
        return _value(self.get("/metrics")[1], name)

    def counted(self, name: str) -> float:
        """As `metric`, for what must be 0: AssertionError if the operator does not answer or has no such metric."""
        code, text = self.get("/metrics")
        assert code == 200, f"/metrics answers with {code}"
        assert f"# TYPE {name.partition('{')[0]} " in text, f"the operator has no metric {name}"
        return _value(text, name)

    def memory_mib(self) -> float:
        """Resident memory now, in MiB."""
        assert self.handle is not None
        for line in Path(f"/proc/{self.handle.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0
