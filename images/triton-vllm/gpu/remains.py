"""The processes of a server by what they are, and what is left when it has ended: processes, GPU memory, segments."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from backend.container.processes import below, processes
from gpu import host
from gpu.place import Place
from gpu.record import Record
from testing.server import Server

# NVIDIA's device files. A process has the second open while CUDA is initialized in it, and not for NVML.
DEVICES = "/dev/nvidia"
CUDA_DEVICE = "/dev/nvidia-uvm"
SHARED_MEMORY = Path("/dev/shm")
LAUNCHER, TRITON, STUB, CORE, WORKER, OTHER = "launcher", "tritonserver", "stub", "core", "worker", "other"
# A driver gives the memory of a process back a moment after its end, and so does the kernel with what it had mapped.
SETTLE_SECONDS = 10.0
# What a driver keeps for itself may differ by so much before and after.
SLACK_MIB = 64


def roles(server: Server) -> dict[int, str]:
    """Process id -> what it is in its server; of a worker also which one."""
    names = {pid: name for pid, _, state, name in processes() if state not in "ZX"}
    found = {pid: role_of(names.get(pid, ""), command_line(pid)) for pid in server.processes("") if pid in names}
    return found | ({server.process.pid: LAUNCHER} if server.process.pid in found else {})


def role_of(name: str, command: str) -> str:
    """What a process of a server is, by its name and its command line."""
    if name == "tritonserver":
        return TRITON
    if name.startswith("triton_python_b"):
        return STUB
    if "VLLM::EngineCore" in command:
        return CORE
    # VLLM::Worker_TP1; without a number until the workers know each other.
    worker = re.search(r"VLLM::Worker(?:_TP(\d+))?", command)
    return f"{WORKER}{worker[1] or ''}" if worker else OTHER


def command_line(pid: int) -> str:
    """The command line of a process; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def only(server: Server, role: str) -> int:
    """The process of that role. Raises AssertionError unless there is one."""
    found = [pid for pid, name in roles(server).items() if name == role]
    assert len(found) == 1, f"{len(found)} processes are {role}: {roles(server)}"
    return found[0]


def device_files(pid: int) -> list[str]:
    """NVIDIA's device files that a process has open."""
    found = set()
    for link in Path(f"/proc/{pid}/fd").glob("*"):
        with contextlib.suppress(OSError):
            found.add(os.readlink(link))
    return sorted(name for name in found if name.startswith(DEVICES))


def gpu_memory(place: Place, server: Server, record: Record) -> None:
    """Note who holds how much memory of the GPUs; only processes of the engine may."""
    if place.on_cpu:
        return
    known, apps = roles(server), host.compute_apps()
    ours = [app for app in apps if app.pid in known]
    record.facts["gpuProcesses"] = [{"process": known[app.pid], "gpu": app.uuid, "MiB": app.used} for app in ours]
    files = {role: device_files(pid) for pid, role in known.items()}
    record.facts["deviceFiles"] = {role: found for role, found in files.items() if found}
    for app in ours:
        role = known[app.pid]
        record.expect(of_engine(role), f"{role} holds {app.used} MiB of GPU {app.uuid}: only the engine may")
    if not ours:  # as in a container that has process ids of its own
        record.open_questions.append("nvidia-smi lists no process of the engine: how much each holds is not known")
        for role, found in files.items():
            record.expect(
                CUDA_DEVICE not in found or of_engine(role), f"{role} has initialized CUDA: only the engine may"
            )


def of_engine(role: str) -> bool:
    """Whether a process of that role may use a GPU."""
    return role == CORE or role.startswith(WORKER)


@dataclass(frozen=True, slots=True)
class Before:
    """What there was before a server was started."""

    segments: frozenset[str]
    used: Mapping[str, int]

    @classmethod
    def now(cls, place: Place) -> Before:
        """Now."""
        return cls(frozenset(path.name for path in SHARED_MEMORY.iterdir()), used_memory(place))


def used_memory(place: Place) -> dict[str, int]:
    """MiB used of each GPU of the case."""
    if place.on_cpu:
        return {}
    return {device.uuid: device.used for device in host.devices() if device.index in place.devices}


def nothing_left(place: Place, before: Before, pids: Mapping[int, str], record: Record) -> None:
    """Expect that no process, GPU memory or segment of a server is left, within a moment.

    `pids`: the processes that the server had. Those below this process are looked at too: it adopts orphans.
    """
    left = _settled(lambda: [*_alive(pids), *_adopted(pids)])
    record.expect(not left, f"processes are left: {', '.join(left)}")
    segments = _settled(lambda: unmapped(before.segments, SHARED_MEMORY))
    record.expect(not segments, f"left in {SHARED_MEMORY}: {', '.join(segments)}")
    record.facts["left"] = {"processes": left, "segments": segments}
    if place.on_cpu:
        return
    held = _settled(lambda: [f"{pids[app.pid]} {app.used} MiB" for app in host.compute_apps() if app.pid in pids])
    record.expect(not held, f"GPU memory is still held: {', '.join(held)}")
    if place.exclusive:
        more = _settled(lambda: _more(before.used, used_memory(place)))
        record.expect(not more, f"GPU memory is still used: {', '.join(more)}")
    else:
        record.open_questions.append("used GPU memory before and after is not compared: other cases used the GPU too")


def _more(before: Mapping[str, int], now: Mapping[str, int]) -> list[str]:
    grown = {uuid: used - before.get(uuid, 0) for uuid, used in now.items()}
    return [f"{more} MiB of {uuid}" for uuid, more in grown.items() if more > SLACK_MIB]


def _settled(find: Callable[[], list[str]]) -> list[str]:
    """What is still there after a moment; as soon as nothing is."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while (found := find()) and time.monotonic() < deadline:
        time.sleep(0.25)
    return found


def _alive(pids: Mapping[int, str]) -> Iterator[str]:
    states = {pid: state for pid, _, state, _ in processes()}
    return (f"{role} ({pid})" for pid, role in pids.items() if states.get(pid, "Z") not in "ZX")


def _adopted(pids: Mapping[int, str]) -> Iterator[str]:
    collect()
    return (f"{command_line(pid)[:60]} ({pid})" for pid in below(os.getpid()) if pid not in pids)


def collect() -> None:
    """Collect orphans that have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def unmapped(known: frozenset[str], folder: Path) -> list[str]:
    """Files of shared memory that were not known, belong to us and are mapped by no process."""
    found = {}
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if path.name not in known and path.stat().st_uid == os.getuid():
                found[path.stat().st_ino] = path.name
    if not found:
        return []
    used = {inode for maps in Path("/proc").glob("[0-9]*/maps") for inode in _inodes(maps, folder)}
    return sorted(name for inode, name in found.items() if inode not in used)


def _inodes(maps: Path, folder: Path) -> list[int]:
    try:
        lines = maps.read_text(errors="replace").splitlines()
    except OSError:
        return []
    # A semaphore is mapped under another name than its own: the number of the file identifies it.
    return [int(words[4]) for line in lines if f" {folder}/" in line and (words := line.split(None, 5))[4:]]
