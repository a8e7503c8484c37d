"""API faults: each kind for 10, 40, 75 and 180 s, while LLMDeployments are created, changed and deleted.

One operator lives through all durations of one kind. After each, everything must be as wanted within 60 s of the end of
the fault, nothing that exists may have been created again, and the memory must stay flat.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.apiserver.controlplane import ControlPlane
from tests.apiserver.operators import eventually
from tests.faults.common import Row, Stage, stage
from tests.faults.kills import remove, served
from tests.faults.proxy import Fault

DURATIONS_S = (10, 40, 75, 180)
CURED_S = 60.0
NOTICED_S = 30.0
GROWTH_MIB = 12.0  # of one operator over all durations; a leak of one object a retry would be more
START_S = 120.0


@dataclass
class Outage:
    """One kind of fault on one stage."""

    fault: Fault
    on: Stage
    before_mib: float = 0.0
    uids: dict[str, str] = field(default_factory=dict)

    def prepare(self) -> None:
        self.on.operator.start()
        eventually("the operator has caught up", self.on.operator.ready, START_S)
        self.on.view.apply(served("kept"))
        eventually("served before", lambda: self._ready("kept"), START_S)
        self.before_mib = self.on.operator.memory_mib()

    def last(self, seconds: float) -> str:
        """The fault for so long; in words what was measured. AssertionError when a bound is missed."""
        during, doomed = f"during-{seconds:.0f}", f"doomed-{seconds:.0f}"
        self.on.view.apply(served(doomed))
        eventually("served before", lambda: self._ready(doomed), START_S)
        self.uids = self._uids()
        self.on.proxy.fail(self.fault)
        began = time.monotonic()
        self.on.view.apply(served(during))
        self.on.view.apply(served("kept", replicas=1 + int(seconds) % 7))
        remove(self.on.view, doomed)
        noticed = self._noticed(during, began, seconds) if self.fault.frozen else None
        time.sleep(max(0.0, began + seconds - time.monotonic()))
        if self.fault.stops_writes:
            assert self.on.view.get("deployment", during) is None, "the fault did not reach the operator"
        self.on.proxy.fail(None)
        took = eventually("all as wanted after the fault", lambda: self._cured(during, doomed, seconds), CURED_S)
        self._nothing_created_again()
        assert self.on.operator.get("/healthz")[0] == 200, "the operator is not healthy"
        return f"{seconds:.0f} s: {took:.1f} s" + (f" (noticed within {noticed:.1f} s)" if noticed else "")

    def memory(self) -> str:
        grown = self.on.operator.memory_mib() - self.before_mib
        assert grown < GROWTH_MIB, f"the memory has grown by {grown:.1f} MiB"
        return f"memory {grown:+.1f} MiB"

    def _noticed(self, name: str, began: float, seconds: float) -> float | None:
        """Open connections are silent and new ones work: what changed is seen while that lasts."""
        if seconds <= NOTICED_S:
            return None
        eventually(
            "the silent connection is noticed", lambda: self.on.view.get("deployment", name) is not None, NOTICED_S
        )
        return time.monotonic() - began

    def _ready(self, name: str) -> bool:
        found = self.on.view.get("llm", name)
        seen = (
            found is not None and found.get("status", {}).get("observedGeneration") == found["metadata"]["generation"]
        )
        return seen and self.on.view.condition(name).get("status") == "True"

    def _cured(self, during: str, doomed: str, seconds: float) -> bool:
        kept = self.on.view.get("deployment", "kept")
        scaled = kept is not None and kept["spec"]["replicas"] == 1 + int(seconds) % 7
        gone = self.on.view.get("deployment", doomed) is None
        return scaled and gone and self._ready(during) and self._ready("kept")

    def _uids(self) -> dict[str, str]:
        """Uids of the children that must live on."""
        found = self.on.view.children()
        return {f"{kind} {name}": obj["metadata"]["uid"] for (kind, name), obj in found.items() if "doomed" not in name}

    def _nothing_created_again(self) -> None:
        now = self._uids()
        lost = {child for child, uid in self.uids.items() if now.get(child) != uid}
        assert not lost, f"deleted or created again: {sorted(lost)}"


def run(plane: ControlPlane, fault: Fault, durations_s: Sequence[float] = DURATIONS_S) -> Row:
    """One kind of fault for each duration, one after the other."""
    measured: list[str] = []
    with stage(plane) as made:
        outage = Outage(fault, made)
        try:
            outage.prepare()
            measured += [outage.last(seconds) for seconds in durations_s]
            measured.append(outage.memory())
        except AssertionError as error:
            return Row("API faults", fault.name, False, "; ".join([*measured, str(error)]))
        finally:
            made.proxy.fail(None)
    return Row("API faults", fault.name, True, "; ".join(measured))
