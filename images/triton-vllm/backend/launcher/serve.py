"""The image's entry point: `python -m backend.launcher.serve [tritonserver] FLAGS`.

Checks what would hang later, runs tritonserver, passes its output and the signals on, and watches for what tritonserver
does not report: a python backend whose process has died leaves it waiting forever. When the server ends, the cause goes
to the container's termination message, and no process or shared memory of it is left.
"""

from __future__ import annotations

import collections
import json
import os
import re
import resource
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from backend.container import events, report
from backend.container.processes import (
    adopt_orphans,
    below,
    processes,
    signal_that_ended,
    stopped,
    titles,
    unsent,
    waits_for_a_child,
)
from backend.container.resources import hide_gpus, prepare
from backend.container.shutdown import DRAIN_VARIABLE, END_VARIABLE
from backend.engine import forkserver
from backend.engine.health import GAVE_UP
from backend.launcher.addresses import address_flags
from backend.launcher.diagnosis import MORE_CPU, diagnose
from backend.launcher.kernel_caches import copy_triton_kernels, set_cache_folders
from backend.launcher.preflight import SHARED_MEMORY, Command, check, engine_arguments_of, flag_values, serves_others
from backend.patches import modelinfo_cache
from contract.timing import CLOSE_SECONDS, DEFAULT_DRAIN_SECONDS

STUB_NAME = "triton_python_b"  # the kernel cuts names at 15 characters
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
POLL_SECONDS = 0.5
# A stopped process answers no request, and only its end helps: a container is not debugged.
STOPPED_SECONDS = 30.0
# tritonserver collects its stubs at once when they end as they should.
DEAD_STUB_SECONDS = 2.0
# While it loads, tritonserver waits for processes that end: those that it has asked to, for a second or two.
GIVEN_UP_SECONDS = 15.0
# After the last answer of a stopping server: its connections may be open, but no request runs. tritonserver ends by
# itself within this time when no client has left a connection open.
QUIET_SECONDS = 3.0
# Of a server that ended with a signal: an older line of its log was got over.
CAUSE_SECONDS = 10.0
KEPT_LINES = 400
# How many lines with a cause are kept, out of how many last lines.
KEPT_CAUSES, EFFECTS = 20, 5000
CAUSE = re.compile(rb"died unexpectedly|device-side assert|illegal memory access|CUDA out of memory|OutOfMemoryError")
# What tritonserver, torch and vLLM leave in /dev/shm when they are killed.
SEGMENTS = re.compile(r"triton_\w+_shm_region_|psm_|torch_|sem\.mp-|vllm")
# tritonserver 2.51 puts a request's body on the stack of a thread, twice, and dies when it does not fit: at 4 MiB with
# the usual stacks of 8 MiB. With these it takes bodies of 120 MiB. Only address space is used until then.
STACK_BYTES = 256 << 20
SEGMENT_CHECKS, SEGMENT_SECONDS = 2, 0.1
_DEAD_STUB = "the backend process has died"
_DEAD_STUB_HINT = "see the log above; a process that was killed without a message often used too much memory"
_STOPPED_HINT = "find out what stops processes of this container; the container restarts"
_GIVEN_UP = "tritonserver gave up the load: the backend process did not respond in time"
# APIs that no client of a model needs: through them a server writes files, maps memory and exposes its log settings.
CLOSED_APIS = ("logging", "shared-memory", "trace")
EXIT_FLAG = "--exit-timeout-secs"
RESTRICTING_FLAGS = ("--http-restricted-api", "--grpc-restricted-protocol")


class Tail:
    """Passes a pipe on to standard output and keeps its last lines."""

    def __init__(self, pipe: IO[bytes]) -> None:
        # With the seconds of the monotonic clock.
        self._lines: collections.deque[tuple[float, bytes]] = collections.deque(maxlen=KEPT_LINES)
        # Lines with a cause, with their numbers: its effects may say more than is kept, a traceback per request.
        self._causes: collections.deque[tuple[int, tuple[float, bytes]]] = collections.deque(maxlen=KEPT_CAUSES)
        self._count = 0
        self._pipe = pipe
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def lines(self, since: float = 0) -> list[str]:
        """The last lines of a server that has ended, those after `since` (seconds of the monotonic clock)."""
        # Whoever inherited the pipe and still lives keeps it open.
        self._thread.join(timeout=2)
        last = list(self._lines)
        # One that is older was got over.
        recent = [line for number, line in self._causes if number > self._count - EFFECTS]
        lines = [line for line in recent if line not in last] + last
        return [line.decode(errors="replace").rstrip("\n") for moment, line in lines if moment >= since]

    def _run(self) -> None:
        for line in self._pipe:
            self._lines.append(entry := (time.monotonic(), line))
            self._count += 1
            if CAUSE.search(line):
                self._causes.append((self._count, entry))
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()


@dataclass(frozen=True, slots=True)
class Lost:
    """Why the server cannot go on, and what to do.

    `certain`: it was seen here, so that a cause in the log is an effect of how the server was ended for it.
    """

    cause: str
    hint: str
    certain: bool = False


class Supervisor:
    """One tritonserver and all processes of this container. `output`: the pipe that they write to."""

    def __init__(
        self,
        command: Command,
        arguments: list[str],
        engines: forkserver.Address | None,
        output: tuple[int, int],
    ) -> None:
        # tritonserver notifies a backend of its end only when no client waits any more.
        end_read, self._end = os.pipe()
        events_read, events_write = os.pipe()
        reading, writing = output
        own = os.environ if serves_others(command) else hide_gpus(os.environ)
        self._server = subprocess.Popen(
            ["tritonserver", *arguments, *restrictions(arguments), *time_to_close(arguments)],
            stdout=writing,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={
                **own,
                DRAIN_VARIABLE: drain_seconds(arguments),
                END_VARIABLE: str(end_read),
                events.EVENTS_VARIABLE: str(events_write),
                report.PHASES_VARIABLE: json.dumps(report.phases()),
            },
            pass_fds=[end_read, events_write, *([] if engines is None else [engines.alive])],
        )
        for inherited in (end_read, events_write, writing):
            os.close(inherited)
        self._events = events.EventReader(events_read)
        self._tail = Tail(os.fdopen(reading, "rb"))
        self._stopping: float | None = None
        # When it stops, a model of another backend may have requests that are not seen here.
        self._sees_all = not serves_others(command)
        self._stop_seconds = seconds_to_stop(arguments)
        self._door = command.http
        self._stub_dead, self._given_up = Lasting(DEAD_STUB_SECONDS), Lasting(GIVEN_UP_SECONDS)
        self._halted = Lasting(STOPPED_SECONDS)

    def signal(self, number: int, _frame: object) -> None:
        """Pass a signal on. A server that still loads has no handler and ends at once."""
        if self._stopping is None:
            os.close(self._end)
            self._stopping = time.monotonic()
        self._server.send_signal(number)

    def wait(self) -> int:
        """The exit code; returns when nothing of the server runs any more."""
        lost: Lost | None = None
        answered = False
        while self._server.poll() is None:
            self._events.read()
            if self._stopping is not None:
                answered = self._answered()
                over = answered or time.monotonic() - self._stopping >= self._stop_seconds
            else:
                over = (lost := self._lost()) is not None
            if over:
                self._server.kill()
                self._server.wait()
                lost = lost or (None if answered else still_open(self._stop_seconds))
                break
            time.sleep(POLL_SECONDS)
        return self._ended(lost, answered)

    def _ended(self, lost: Lost | None, answered: bool) -> int:
        """End all that is left and report why the server ended; the exit code.

        `answered`: it had answered every request when it was ended, for the connections that clients left open.
        """
        code = self._server.returncode
        ended = time.monotonic()
        end_descendants()
        lines = self._tail.lines()
        if answered:
            sys.stdout.write("all requests are answered; connections that clients left open are closed\n")
            return 0
        # Sometimes tritonserver aborts over the stub that has gone before it is seen here: the exit code is the same.
        if lost is None and any(GAVE_UP in line for line in lines):
            lost = Lost(_DEAD_STUB, _DEAD_STUB_HINT)
        if lost or (code != 0 and self._stopping is None):
            by_signal = lost is None and code < 0
            recent = self._tail.lines(ended - CAUSE_SECONDS) if by_signal else lines
            _report_failure(recent, lost or _exit_cause(code))
        return 1 if lost else code if code >= 0 else 128 - code

    def _answered(self) -> bool:
        """Whether a stopping server has answered every request, and its clients have taken the answers."""
        if not self._sees_all or self._events.quiet() < QUIET_SECONDS:
            return False
        return not unsent({self._server.pid, *self._events.running})

    def _lost(self) -> Lost | None:
        """Why only the server's end helps, and what to do; None when it gets on."""
        descendants = below(os.getpid())
        # A python backend's process is a zombie for a while; newer servers collect it when they are asked for health.
        dead = [*zombies(self._server.pid, STUB_NAME), *(self._events.running - descendants)]
        if self._stub_dead.seen(bool(dead)):
            return Lost(dead_stub(dead[0]), _DEAD_STUB_HINT)
        halted = stopped(descendants)
        if self._halted.seen(bool(halted)):
            return Lost(stopped_for(halted), _STOPPED_HINT, certain=True)
        # A model loads, and every second tritonserver looks for a sign of life of the backend's process. When none has
        # come (a paused machine or a starved container is enough) it waits for the end of a process that goes on
        # loading, without a word, for ever. Once its port is open nothing is loaded any more, and it no longer checks.
        if self._door is not None and _answers(self._door):
            self._door = None
        if self._door is None or not self._given_up.seen(waits_for_a_child(self._server.pid)):
            return None
        return Lost(_GIVEN_UP, MORE_CPU)


def dead_stub(pid: int) -> str:
    """The cause when the backend's process has ended; it is a zombie."""
    number = signal_that_ended(pid)
    return _DEAD_STUB if number is None else f"the backend process was killed by signal {number}"


def stopped_for(pids: Iterable[int]) -> str:
    """The cause when processes have been stopped for `STOPPED_SECONDS`."""
    return f"{titles(pids)} was stopped (SIGSTOP) for {STOPPED_SECONDS:.0f} seconds"


class Lasting:
    """Something that may be for a while, but not for `seconds` without a break."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: float | None = None

    def seen(self, now_so: bool) -> bool:
        """Note how it is now; whether it has been so for too long."""
        if not now_so:
            self._since = None
            return False
        self._since = self._since or time.monotonic()
        return time.monotonic() - self._since >= self._seconds


def drain_seconds(arguments: Sequence[str]) -> str:
    """Return how long tritonserver waits for requests when it stops."""
    return [str(DEFAULT_DRAIN_SECONDS), *flag_values(arguments, EXIT_FLAG)][-1]


def seconds_to_stop(arguments: Sequence[str]) -> float:
    """Return after how long a stopping server is ended, whatever still runs."""
    seconds = drain_seconds(arguments)
    return (int(seconds) if seconds.isdecimal() else DEFAULT_DRAIN_SECONDS) + CLOSE_SECONDS


def still_open(seconds: float) -> Lost:
    """Return the cause and the advice when a server has not stopped in time."""
    cause = f"tritonserver did not stop within {seconds:.0f} seconds of the signal"
    return Lost(cause, "requests that still ran were cut; see the log above for what it waited for", certain=True)


def time_to_close(arguments: Sequence[str]) -> list[str]:
    """A flag that gives tritonserver more time than the drain: for the answers to what is cancelled, and the engine."""
    seconds = drain_seconds(arguments)
    return [f"{EXIT_FLAG}={int(seconds) + CLOSE_SECONDS}"] if seconds.isdecimal() else []  # else it says what is wrong


def restrictions(arguments: Sequence[str]) -> list[str]:
    """Flags that close `CLOSED_APIS` with a random key; not those that `arguments` restrict."""
    found = []
    for flag in RESTRICTING_FLAGS:
        theirs = {api for value in flag_values(arguments, flag) for api in value.split(":")[0].split(",")}
        if ours := ",".join(api for api in CLOSED_APIS if api not in theirs):
            found.append(f"{flag}={ours}:closed={secrets.token_hex(16)}")
    return found


def _answers(door: tuple[str, int]) -> bool:
    try:
        socket.create_connection(door, timeout=1).close()
    except OSError:
        return False
    return True


def _exit_cause(code: int) -> Lost:
    if code == -signal.SIGKILL:  # what its children log of that is an effect, not the cause
        hint = "killed from outside the container; check the node for memory pressure (OOM)"
        return Lost("tritonserver ended with signal 9", hint, certain=True)
    how = f"signal {-code}" if code < 0 else f"code {code}"
    return Lost(f"tritonserver ended with {how}", "see the log above")


def _report_failure(lines: list[str], lost: Lost) -> None:
    """Report why the server ended: from the end of its log, unless that is not its cause or shows none."""
    if not lost.certain and (found := diagnose(lines)):
        report.failure(found.cause, hint=found.hint, engine_line=found.line)
    else:
        report.failure(lost.cause, hint=lost.hint)


def raise_stack_limit() -> None:
    """Give the threads of the processes that are started from here stacks of `STACK_BYTES`, if that is allowed."""
    _, most = resource.getrlimit(resource.RLIMIT_STACK)
    wanted = STACK_BYTES if most == resource.RLIM_INFINITY else min(STACK_BYTES, most)
    resource.setrlimit(resource.RLIMIT_STACK, (wanted, most))


def zombies(parent: int, name: str) -> Iterator[int]:
    """Ended children of `parent` that it has not collected."""
    return (pid for pid, above, state, found in processes() if above == parent and state == "Z" and found == name)


def end_descendants() -> None:
    """Kill what is left below this process, and collect it."""
    own = os.getpid()
    while True:
        # A child of a child becomes ours when its parent ends: look again after each.
        for pid in [pid for pid, parent, state, _ in processes() if parent == own and state != "Z"]:
            os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def remove_segments(folder: Path = SHARED_MEMORY) -> int:
    """Remove our segments that no living process has mapped: what servers that were killed left. Returns how many.

    A segment is mapped a moment after it is made: what is not mapped is looked at again before it goes.
    """
    left = {inode: path for path in folder.iterdir() if SEGMENTS.match(path.name) and (inode := _own_inode(path))}
    for _ in range(SEGMENT_CHECKS):
        if not left:
            return 0
        time.sleep(SEGMENT_SECONDS)
        used = {inode for maps in Path("/proc").glob("[0-9]*/maps") for inode in _mapped(maps, folder)}
        left = {inode: path for inode, path in left.items() if inode not in used}
    for path in left.values():
        path.unlink(missing_ok=True)
    return len(left)


def _own_inode(path: Path) -> int:
    """The file's number; 0 when it belongs to another user or has just been removed."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0
    return found.st_ino if found.st_uid == os.getuid() else 0


def _mapped(maps: Path, folder: Path) -> list[int]:
    """Numbers of the files of `folder` that a process has mapped.

    Not their names: a semaphore is mapped under a name for the moment and gets its own by a link.
    """
    try:
        lines = maps.read_text(errors="replace").splitlines()
    except OSError:
        return []
    return [int(words[4]) for line in lines if (words := line.split(None, 5))[5:] and words[5].startswith(f"{folder}/")]


def start_engines(command: Command, environment: MutableMapping[str, str], output: int) -> forkserver.Address | None:
    """Start the fork server of the models' engines while all else is checked; None where they start without one."""
    models = list(engine_arguments_of(command))
    if not forkserver.serves(models, environment):
        return None
    own = dict(environment)
    for arguments in models:
        prepare(dict(arguments), own)  # what vLLM reads from the environment when it is imported
    try:
        address = forkserver.start(own, output)
    except OSError as error:
        os.write(2, f"no fork server, so each process of the engine imports vLLM itself: {error}\n".encode())
        return None
    environment[forkserver.VARIABLE] = str(address)
    return address


def end_before_serving(number: int, _frame: object) -> None:
    """Handle a signal to stop that comes before tritonserver runs: what was started is ended.

    Raises:
        SystemExit: 128 and the signal's number.
    """
    sys.exit(128 + number)


def main(arguments: list[str]) -> int:
    """Run until the server ends."""
    # Before all else: as process 1 of a container, a signal without a handler is ignored.
    for number in STOP_SIGNALS:
        signal.signal(number, end_before_serving)
    report.begin()
    begun = time.monotonic()
    if arguments[:1] == ["tritonserver"]:
        arguments = arguments[1:]
    arguments = [*arguments, *address_flags(arguments)]
    adopt_orphans()  # which can then be ended
    raise_stack_limit()
    set_cache_folders(os.environ)
    command = Command.parse(arguments)
    reading, writing = os.pipe()
    engines = start_engines(command, os.environ, writing)
    try:
        return run(command, arguments, engines, (reading, writing), begun)
    finally:
        end_descendants()
        remove_segments()
        if engines is not None:
            forkserver.remove(engines)


def run(
    command: Command,
    arguments: list[str],
    engines: forkserver.Address | None,
    output: tuple[int, int],
    begun: float,
) -> int:
    """Check, then serve; the exit code. `begun`: when the start began (seconds of the monotonic clock)."""
    removed = remove_segments()
    if problem := check(command, os.environ):
        report.failure(problem.cause, hint=problem.hint, phase_name="Preflight")
        return 1
    modelinfo_cache.install(os.environ)
    copy_triton_kernels(os.environ)
    report.phase("Preflight", time.monotonic() - begun, **({"removedSegments": removed} if removed else {}))
    supervisor = Supervisor(command, arguments, engines, output)
    for number in STOP_SIGNALS:
        signal.signal(number, supervisor.signal)
    return supervisor.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
