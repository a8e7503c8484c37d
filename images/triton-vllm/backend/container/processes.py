"""Processes of the container, as `/proc` has them."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

# Stopped, traced, ended.
_HALTED = frozenset("TtZX")
# Names as the kernel has them, cut at 15 characters -> what they are.
TITLES = {
    "triton_python_b": "the backend process",
    "VLLM::EngineCor": "the engine core",
    "VLLM::ForkServe": "the engine's fork server",
    "VLLM::Worker_TP": "a worker of the engine",
    "VLLM::Worker_PP": "a worker of the engine",
    "VLLM::Worker": "a worker of the engine",
}
# The state of a socket in /proc/net/tcp.
_LISTENS = "0A"
_SET_NAME, _SET_CHILD_SUBREAPER = 15, 36


def processes() -> Iterator[tuple[int, int, str, str]]:
    """(process id, parent, state, name) of every process that can be seen."""
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (found := _read(int(entry))):
            yield found


def below(ancestor: int) -> frozenset[int]:
    """Return the ids of all descendants of the process `ancestor`."""
    parents = {pid: parent for pid, parent, _, _ in processes()}
    found: set[int] = {ancestor}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return frozenset(found - {ancestor})


def halted(pids: Iterable[int]) -> frozenset[int]:
    """Return those that do not run: stopped, or ended."""
    return frozenset(pid for pid in pids if (found := _read(pid)) is None or found[2] in _HALTED)


def stopped(pids: Iterable[int]) -> frozenset[int]:
    """Return those that are stopped by a signal (SIGSTOP), not by a debugger."""
    return frozenset(pid for pid in pids if (found := _read(pid)) is not None and found[2] == "T")


def name_of(pid: int) -> str:
    """Return the name of a process, at most 15 characters; its id when it has ended."""
    found = _read(pid)
    return f"process {pid}" if found is None else found[3]


def titles(pids: Iterable[int]) -> str:
    """Return a description of processes, for messages."""
    names = sorted({name_of(pid) for pid in pids})
    return ", ".join(TITLES.get(name, name) for name in names)


def signal_that_ended(pid: int) -> int | None:
    """Return the signal that ended a zombie process; None when it ended by itself or is not known."""
    fields = _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    # The last field, as wait() gives it.
    status = int(fields[-1]) if fields else 0
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else None


def unsent(pids: Iterable[int]) -> bool:
    """Return whether a TCP connection of these processes has data that the other side has not taken yet.

    Connections count too that they have closed on a port of theirs: the kernel still sends what is left.
    """
    tables = (_text(Path(f"/proc/net/{name}")).splitlines()[1:] for name in ("tcp", "tcp6"))
    rows = [line.split() for table in tables for line in table]
    owned = {file for pid in pids for file in _open_files(pid)}
    ports = {_port(row) for row in rows if f"socket:[{row[9]}]" in owned}
    return any(
        int(row[4].partition(":")[0], 16) and (f"socket:[{row[9]}]" in owned or (row[9] == "0" and _port(row) in ports))
        for row in rows
        if row[3] != _LISTENS
    )


def _port(row: list[str]) -> str:
    return row[1].rpartition(":")[2]


def _open_files(pid: int) -> Iterator[str]:
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                with contextlib.suppress(OSError):  # closed in the meantime
                    yield os.readlink(entry.path)
    except OSError:
        return  # it has ended, or belongs to another user


def name_thread(name: str) -> None:
    """Give the calling thread a name that `top -H` shows; at most 15 characters."""
    _prctl(_SET_NAME, name.encode())


def adopt_orphans() -> None:
    """Have the processes below this one become its children when their parents end."""
    _prctl(_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int | bytes) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def waits_for_a_child(pid: int) -> bool:
    """Whether a thread of the process sleeps until a child ends. False where the kernel does not report it."""
    return any(_text(path).startswith("do_wait") for path in Path(f"/proc/{pid}/task").glob("*/wchan"))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""  # it has ended, or belongs to another user


def _read(pid: int) -> tuple[int, int, str, str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None  # it has ended
    name, rest = text[text.index("(") + 1 : text.rindex(")")], text[text.rindex(")") + 2 :].split()
    return pid, int(rest[1]), rest[0], name
