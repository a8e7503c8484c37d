"""What may happen to a server under load: soon it is not ready, then it ends, says why, and leaves nothing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.launcher.serve import remove_segments
from contract.timing import UNREADY_WITHIN_SECONDS
from gpu.clients import CUT, HANGS, WHOLE, Clients, Readiness
from gpu.place import Place, started
from gpu.record import Record
from gpu.remains import CORE, LAUNCHER, STUB, TRITON, WORKER, Before, nothing_left, only, roles
from testing.server import CONTEXT, HERE, Server

SHAPE = "llama-3.2-1b"
CLIENTS = 8
KV_BYTES = 4 << 30
# A request that no fault lets end.
ENDLESS_TOKENS = CONTEXT - 100
NOT_READY_SECONDS, ENDED_SECONDS = float(UNREADY_WITHIN_SECONDS), 60.0
# So much longer is waited, so that a row shows how late it was.
PATIENCE_SECONDS = 30.0
# Time for answers to reach their clients when the server has ended.
FAREWELL_SECONDS = 5.0
KILLED = 128 + signal.SIGKILL
EXTENSION = "worker_hindrances.HinderedWorker"


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens, and what the server must make of it.

    `cause`: words that the termination message must have. `code`: the exit code, None: any but 0.
    """

    happen: Callable[[Server, Path], None]
    cause: tuple[str, ...]
    code: int | None = None


def send(number: signal.Signals, role: str) -> Callable[[Server, Path], None]:
    """A signal to one process of the server."""

    def happen(server: Server, _file: Path) -> None:
        os.kill(only(server, role), number)

    return happen


def hinder(what: str, rank: int = 0) -> Callable[[Server, Path], None]:
    """Something in a worker of the engine (`testing.worker_hindrances`)."""

    def happen(_server: Server, file: Path) -> None:
        scratch = file.with_suffix(".new")
        scratch.write_text(json.dumps({"what": what, "rank": rank}))
        scratch.rename(file)

    return happen


KILL, STOP = signal.SIGKILL, signal.SIGSTOP
FAULTS: Mapping[str, Fault] = {
    "kill tritonserver": Fault(send(KILL, TRITON), ("tritonserver", "signal 9"), KILLED),
    "kill stub": Fault(send(KILL, STUB), ("backend", "signal 9")),
    "kill core": Fault(send(KILL, CORE), ("engine core", "signal 9")),
    "stop tritonserver": Fault(send(STOP, TRITON), ("tritonserver", "stopped")),
    "stop stub": Fault(send(STOP, STUB), ("backend", "stopped")),
    "stop core": Fault(send(STOP, CORE), ("engine core", "stopped")),
    "kill worker 1": Fault(send(KILL, f"{WORKER}1"), ("worker", "signal 9")),
    "stop worker 1": Fault(send(STOP, f"{WORKER}1"), ("worker", "stopped")),
    "kill worker 0": Fault(send(KILL, f"{WORKER}0"), ("worker", "signal 9")),
    "stop worker 0": Fault(send(STOP, f"{WORKER}0"), ("worker", "stopped")),
    "hung all-reduce": Fault(hinder("hang", 1), ("not responded",)),
    "worker raises": Fault(hinder("fail"), ("raised by the test",)),
    "endless kernel": Fault(hinder("endless kernel"), ("not responded",)),
    "out of memory": Fault(hinder("out of memory"), ("memory",)),
    "illegal address": Fault(hinder("illegal address"), ("illegal memory access",)),
    "device assert": Fault(hinder("device assert"), ("device-side assert",)),
}


@contextlib.contextmanager
def target(place: Place, record: Record, workers: int, *flags: str) -> Iterator[tuple[Server, Path]]:
    """A server whose workers look for the file."""
    file = place.folder / "hindrance"
    arguments = settings(place, workers)
    with started(place, arguments, record, *flags, prepare=add_hindrances, HINDRANCE=str(file)) as found:
        record.headline["ready"] = round(found.seconds, 1)
        yield found.server, file


def fault(place: Place, record: Record, name: str, *, workers: int = 1) -> None:
    """One fault under load."""
    expected, before = FAULTS[name], Before.now(place)
    with target(place, record, workers) as (server, file):
        if place.on_cpu:  # a tiny model would be ahead of the front end, which would have tokens after the engine's end
            hinder("slow")(server, file)
        clients = Clients(server, CLIENTS, ENDLESS_TOKENS)
        clients.start()
        known, readiness, begun = roles(server), Readiness(server), time.monotonic()
        record.facts["processes"] = {role: pid for pid, role in known.items()}
        expected.happen(server, file)
        code = exit_code(server, ENDED_SECONDS + PATIENCE_SECONDS)
        ended = None if code is None else time.monotonic() - begun
        clients.wait(FAREWELL_SECONDS)
        readiness.stop()
        record.within("not ready", first(readiness.lost and readiness.lost - begun, ended), NOT_READY_SECONDS)
        record.within("ended", ended, ENDED_SECONDS)
        record.facts["reason"] = readiness.reason
        judge_clients(clients, begun, record)
        judge_end(server, code, expected, record)
        if code is None:  # whatever it leaves now is our doing
            server.stop()
            record.facts["removedSegments"] = remove_segments()
        nothing_left(place, before, known, record)


def settings(place: Place, workers: int) -> dict[str, Any]:
    """Engine arguments of a server that faults meet: a quick start, room for others on the GPU, and the hindrances."""
    engine: dict[str, Any] = {"enforce_eager": True, "max_num_seqs": 64, "max_model_len": CONTEXT}
    # Given, or the engine would measure what is free, which others change meanwhile.
    engine |= {"gpu_memory_utilization": 0.2, "kv_cache_memory_bytes": KV_BYTES}
    engine |= {"tensor_parallel_size": workers} if workers > 1 else {}
    return {**place.engine(SHAPE, **engine), "worker_extension_cls": EXTENSION}


def add_hindrances(backends: Path) -> None:
    """Put the hindrances where the engine finds them."""
    (backends / "vllm/worker_hindrances.py").symlink_to(HERE / "testing/worker_hindrances.py")


def exit_code(server: Server, seconds: float) -> int | None:
    """The exit code as a shell reports it; None when the server runs on."""
    try:
        code = server.wait_exit(seconds)
    except subprocess.TimeoutExpired:
        return None
    return code if code >= 0 else 128 - code


def first(*moments: float | None) -> float | None:
    """The earliest of those that came."""
    return min((moment for moment in moments if moment is not None), default=None)


def judge_clients(clients: Clients, begun: float, record: Record) -> None:
    """Every client receives an error or sees that its connection is gone; none waits on, none takes a part for all."""
    outcome = clients.outcome()
    record.facts["clients"] = outcome
    record.facts["clientWords"] = sorted({f"{one.kind}: {one.how}: {one.words}" for one in clients.ended})
    last = max((one.at - begun for one in clients.ended), default=None)
    record.facts["last client"] = last and round(last, 1)
    for how in (HANGS, CUT, WHOLE):
        record.expect(how not in outcome, f"{outcome.get(how)} of {clients.count} requests: {how}")


def judge_end(server: Server, code: int | None, expected: Fault, record: Record) -> None:
    """The exit code and the termination message."""
    record.facts["exitCode"] = code
    if code is not None:
        right = code == expected.code if expected.code is not None else code != 0
        record.expect(
            right, f"exit code {code} instead of {expected.code if expected.code is not None else 'any but 0'}"
        )
    written = (server.folder / "termination").read_text()
    record.facts["terminationMessage"] = message = json.loads(written) if written else None
    message_text = " ".join(str((message or {}).get(name, "")) for name in ("cause", "engineLine"))
    missing = [word for word in expected.cause if word not in message_text.lower()]
    record.expect(not missing, f"the termination message does not name {' and '.join(missing)}: {message_text!r}")


def kill_launcher(place: Place, record: Record) -> None:
    """The launcher is killed. In a container the kernel then ends all the rest, and the next start cleans up.

    Here this process stands for the kernel; what is left before it acts is reported.
    """
    before = Before.now(place)
    with target(place, record, 1) as (server, _):
        clients = Clients(server, CLIENTS, ENDLESS_TOKENS)
        clients.start()
        known, begun = roles(server), time.monotonic()
        os.kill(only(server, LAUNCHER), signal.SIGKILL)
        record.facts["exitCode"] = code = exit_code(server, ENDED_SECONDS)
        record.expect(code == KILLED, f"exit code {code} instead of {KILLED}")
        clients.wait(FAREWELL_SECONDS)
        record.facts["leftWithoutAContainer"] = sorted(roles(server).values())
        server.stop()
        clients.wait(FAREWELL_SECONDS)
        judge_clients(clients, begun, record)
        record.facts["removedSegments"] = remove_segments()
        nothing_left(place, before, known, record)


# A request takes a quarter of a minute at least as long as the engine is slowed down.
DRAINED, DRAIN_TOKENS = 16, 600
DRAIN_SECONDS = 60


def drain(place: Place, record: Record, *, workers: int = 1) -> None:
    """SIGTERM under load: every request that runs is answered whole, and nothing is left."""
    before = Before.now(place)
    with target(place, record, workers, f"--exit-timeout-secs={DRAIN_SECONDS}") as (server, file):
        hinder("slow")(server, file)
        clients = Clients(server, DRAINED, DRAIN_TOKENS)
        clients.start()
        known, begun = roles(server), time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        record.expect(not clients.ended, f"a request ended before the signal: {clients.ended}")
        file.unlink()
        code = exit_code(server, DRAIN_SECONDS + PATIENCE_SECONDS)
        record.within("ended", None if code is None else time.monotonic() - begun, DRAIN_SECONDS)
        clients.wait(FAREWELL_SECONDS)
        record.facts["clients"] = outcome = clients.outcome()
        record.facts["clientWords"] = sorted({f"{one.kind}: {one.how}: {one.words}" for one in clients.ended})
        record.expect(outcome == {WHOLE: DRAINED}, f"not all of {DRAINED} requests were answered whole: {outcome}")
        record.expect(code == 0, f"exit code {code} instead of 0")
        message_text = (server.folder / "termination").read_text()
        record.expect(not message_text, f"a termination message was written: {message_text}")
        if code is None:
            server.stop()
        nothing_left(place, before, known, record)
    record.headline["answered"] = f"{outcome.get(WHOLE, 0)} of {DRAINED}"
