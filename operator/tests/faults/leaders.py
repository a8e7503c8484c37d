"""Two operators and one Lease: killed, stopped past the lease, cut off, with a jumping clock, terminated.

Meanwhile a user changes an LLMDeployment three times per second, so that whoever may write does write. The audit log
shows who wrote: from the first write of the new leader on, the old one must not appear any more.
"""

from __future__ import annotations

import itertools
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.apiserver.controlplane import ADMIN_TOKEN, ControlPlane
from tests.apiserver.operators import PROVEN, OperatorProcess, eventually
from tests.apiserver.view import WRITING, Object, View
from tests.faults.common import Row, namespace
from tests.faults.kills import served
from tests.faults.proxy import FAULTS, Proxy, proxy

TAKEOVER_S = 20.0
HANDOVER_S = 5.0  # on a clean stop; the lease would last 15 s
START_S = 90.0
SKEWED = ("-m", "tests.faults.skewed")
SILENT = next(fault for fault in FAULTS if fault.silent)


@dataclass(frozen=True)
class Candidate:
    """One operator and its way to the API server."""

    name: str
    operator: OperatorProcess
    proxy: Proxy


@dataclass(frozen=True)
class Pair:
    """Two candidates for one Lease."""

    view: View
    candidates: tuple[Candidate, Candidate]

    def roles(self) -> tuple[Candidate, Candidate]:
        """(leader, follower), once there is exactly one leader and both have caught up."""
        eventually("both have caught up", lambda: all(c.operator.ready() for c in self.candidates), START_S)
        eventually("one leads", lambda: sum(c.operator.leads() for c in self.candidates) == 1, START_S)
        first, second = self.candidates
        return (first, second) if first.operator.leads() else (second, first)

    def writers(self, since: int) -> list[str]:
        """Who wrote, in order, each spell once. Writes of the Lease itself do not count."""
        events = [e for e in self.view.plane.audit()[since:] if self._is_ours(e)]
        events.sort(key=lambda event: str(event["requestReceivedTimestamp"]))
        return [name for name, _ in itertools.groupby(str(e["userAgent"]).rsplit(" ", 1)[-1] for e in events)]

    def _is_ours(self, event: Object) -> bool:
        agent = str(event.get("userAgent", ""))
        ours = any(agent.endswith(f" {candidate.name}") for candidate in self.candidates)
        return ours and event["verb"] in WRITING and event.get("objectRef", {}).get("resource") != "leases"


@contextmanager
def pair(plane: ControlPlane, programs: Sequence[Sequence[str]] = (PROVEN, PROVEN)) -> Iterator[Pair]:
    """Two running operators in a namespace of their own."""
    with ExitStack() as stack:
        space = stack.enter_context(namespace(plane))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        candidates = []
        for letter, program in zip("ab", programs, strict=True):
            name = f"{space}-{letter}"
            way = stack.enter_context(proxy(plane, name))
            options = ("--namespace", space, "--lease-namespace", space)
            kubeconfig = plane.kubeconfig_for(name, ADMIN_TOKEN, way.url)
            operator = OperatorProcess(kubeconfig, folder / f"{letter}.log", program, options)
            operator.start()
            stack.callback(operator.kill)
            candidates.append(Candidate(name, operator, way))
        yield Pair(View(plane, space), (candidates[0], candidates[1]))


@contextmanager
def churn(view: View) -> Iterator[None]:
    """A user who changes an LLMDeployment all the time."""
    stop = threading.Event()

    def run() -> None:
        for number in itertools.count():
            if stop.wait(0.3):
                return
            view.apply(served("a", replicas=1 + number % 3))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)


# What happens to the leader, and how it is undone.
Blow = tuple[Callable[[Candidate], object], Callable[[Candidate], object]]


def nothing(_: Candidate) -> None:
    """It stays as it is."""


BLOWS: dict[str, Blow] = {
    "killed": (lambda leader: leader.operator.kill(), nothing),
    "stopped past the lease": (
        lambda leader: leader.operator.send(signal.SIGSTOP),
        lambda leader: leader.operator.send(signal.SIGCONT),
    ),
    "cut off": (lambda leader: leader.proxy.fail(SILENT), lambda leader: leader.proxy.fail(None)),
    "terminated": (lambda leader: leader.operator.send(signal.SIGTERM), nothing),
}


def struck(plane: ControlPlane, name: str) -> Row:
    """The leader is struck, the other takes over, the blow is undone: one change of writers in all."""
    strike, undo = BLOWS[name]
    limit = HANDOVER_S if name == "terminated" else TAKEOVER_S
    try:
        with pair(plane) as made:
            leader, follower = made.roles()
            with churn(made.view):
                eventually("the leader writes", lambda: made.writers(0) == [leader.name], START_S)
                strike(leader)
                took = eventually("the other leads", follower.operator.leads, limit, every_s=0.05)
                eventually("it writes", lambda: made.writers(0)[-1] == follower.name, START_S)
                undo(leader)
                time.sleep(5)
            writers = made.writers(0)
            assert writers == [leader.name, follower.name], f"writers in turn: {writers}"
            assert not leader.operator.leads(), "the old leader says that it leads"
    except AssertionError as error:
        return Row("two operators", name, False, str(error))
    return Row("two operators", name, True, f"takeover after {took:.1f} s, one change of writers")


def jumping_clock(plane: ControlPlane) -> Row:
    """The wall clock of one operator jumps ahead and back; whoever leads goes on, and no other writes."""
    try:
        with pair(plane, (SKEWED, PROVEN)) as made, churn(made.view):
            leader, follower = made.roles()
            eventually("the leader writes", lambda: made.writers(0) == [leader.name], START_S)
            time.sleep(20)  # longer than a lease
            assert leader.operator.leads(), "the leader says that it does not lead"
            assert not follower.operator.leads(), "the follower says that it leads"
            assert made.writers(0) == [leader.name], f"writers in turn: {made.writers(0)}"
    except AssertionError as error:
        return Row("two operators", "clock jumps", False, str(error))
    return Row("two operators", "clock jumps", True, "no change of writers")
