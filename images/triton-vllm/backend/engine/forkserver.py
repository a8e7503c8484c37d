"""The engine's processes as copies of one process that has imported vLLM (Python's `forkserver` start method).

vLLM starts its engine core, and with several GPUs each worker, as a new process that imports torch and vLLM again: 8 to
12 seconds each time, one after another. The launcher starts a fork server instead, which imports them while
tritonserver and the front ends start, so a process of the engine begins at once. Nothing in the fork server may touch
CUDA or start threads: neither survives a fork.
"""

from __future__ import annotations

import logging
import multiprocessing.context
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from backend.container.processes import below
from backend.container.resources import in_one_process, on_cpu
from backend.engine import prefetch
from backend.patches import process_context

logger = logging.getLogger("triton_vllm")

# How a process reaches the fork server: its process id, the descriptor that keeps it alive, its socket.
VARIABLE = "TRITON_VLLM_FORK_SERVER"
METHOD_VARIABLE = "VLLM_WORKER_MULTIPROC_METHOD"
# What vLLM calls the process of the engine core.
CORE = "EngineCore"
# The exit code that Python gives a copy when the fork server has ended before it: how the copy ended is not known.
UNKNOWN_EXIT = 255
_PROGRAM = """
from multiprocessing.forkserver import main
from backend.engine.preload import preload

preload()
main({listener}, {alive}, [])
"""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the fork server is reached, and its process id."""

    pid: int
    alive: int
    path: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Address | None:
        """The fork server of this container; None when there is none."""
        if not (text := environment.get(VARIABLE)):
            return None
        pid, alive, path = text.split(":", 2)
        return cls(int(pid), int(alive), path)

    def __str__(self) -> str:
        return f"{self.pid}:{self.alive}:{self.path}"


def serves(models: Sequence[Mapping[str, Any]], environment: Mapping[str, str]) -> bool:
    """Whether engines with these arguments start by a fork server.

    Not where the user has chosen a start method, and not where a process needs settings of its own before it loads
    OpenMP: on a CPU, unless one engine runs in one process.
    """
    if METHOD_VARIABLE in environment or (models and all(map(binds, models))):
        return False
    return not on_cpu(environment) or (len(models) == 1 and in_one_process(models[0], environment))


def binds(arguments: Mapping[str, Any]) -> bool:
    """Whether an engine with these arguments runs each process under numactl, which a copy cannot."""
    return bool(arguments.get("numa_bind"))


def start(environment: Mapping[str, str], output: int) -> Address:
    """Start the fork server, which writes to the descriptor `output`.

    It ends when the last process that has inherited `Address.alive` has ended. Raises OSError.
    """
    folder = tempfile.mkdtemp(prefix="forkserver-")
    path = os.path.join(folder, "socket")
    read_end, write_end = os.pipe()
    try:
        pid = _run(environment, output, path, read_end)
    except OSError:
        os.close(write_end)
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        os.close(read_end)
    return Address(pid, write_end, path)


def _run(environment: Mapping[str, str], output: int, path: str, alive: int) -> int:
    """Start the process that listens at `path`; its id."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        return subprocess.Popen(
            [sys.executable, "-c", _PROGRAM.format(listener=listener.fileno(), alive=alive)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # Without it torch looks for GPUs in a way after which copies of the process cannot use them.
            # Humming builds a helper in a process of its own when it is imported, also where it is not used.
            env={**environment, "PYTORCH_NVML_BASED_CUDA_CHECK": "1", "HUMMING_DISABLE_PARALLEL_BUILD": "1"},
            pass_fds=(listener.fileno(), alive),
        ).pid


def remove(address: Address) -> None:
    """Remove the socket of a fork server that has ended."""
    shutil.rmtree(Path(address.path).parent, ignore_errors=True)


def copies(environment: Mapping[str, str]) -> frozenset[int]:
    """Process ids of all that the fork server has started, and of what those have started."""
    address = Address.of(environment)
    return frozenset() if address is None else below(address.pid)


class ForkedProcess(multiprocessing.context.ForkServerProcess):
    """A process of the engine. It has the environment that its parent has when it starts it, not the fork server's."""

    _environment: dict[str, str] | None

    def start(self) -> None:
        """Start it as a copy of the fork server; as a new process when that has ended."""
        self._environment = dict(os.environ)
        super().start()

    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        try:
            return multiprocessing.context.ForkServerProcess._Popen(process_obj)
        except (OSError, EOFError) as error:
            logger.warning("%s imports vLLM itself: the fork server has ended: %s", process_obj.name, error)
            # A new process has it already, and what vLLM adds when it is imported; without that it gets no title.
            process_obj._environment = None
            return multiprocessing.context.SpawnProcess._Popen(process_obj)

    def run(self) -> None:
        """What the new process does."""
        if self._environment is not None:
            os.environ.clear()
            os.environ.update(self._environment)
            _take_threads(self._environment)
        if self.name.startswith(CORE):
            prefetch.tokenizer(self._kwargs["vllm_config"])  # type: ignore[attr-defined] # of multiprocessing
        super().run()


class ForkServerContext(multiprocessing.context.ForkServerContext):
    """What vLLM asks for processes, locks and pipes."""

    Process = ForkedProcess


def _take_threads(environment: Mapping[str, str]) -> None:
    """Give torch the number of threads that a new process would have read from the environment when it loads OpenMP."""
    import torch

    wanted = environment.get("OMP_NUM_THREADS", "")
    if wanted.isdecimal() and int(wanted) != torch.get_num_threads():
        torch.set_num_threads(int(wanted))


def attach(environment: Mapping[str, str], arguments: Mapping[str, Any] = MappingProxyType({})) -> bool:
    """Have vLLM in this process start its processes by the fork server; False when it starts them as new ones.

    `arguments`: those of the engine.
    """
    address = Address.of(environment)
    if address is None or binds(arguments):
        return False
    server: Any = multiprocessing.forkserver._forkserver
    server._forkserver_address, server._forkserver_alive_fd = address.path, address.alive
    start_copies()
    return True


def start_copies() -> None:
    """Have vLLM in this process and its copies start processes by the fork server that they know.

    The fork server itself knows that it is one: where it calls this, the engine core's workers are copies as well.
    """
    server: Any = multiprocessing.forkserver._forkserver
    # It runs, or nothing can be started: a second one would have to import everything again.
    server.ensure_running = multiprocessing.resource_tracker.ensure_running
    process_context.install(ForkServerContext())
