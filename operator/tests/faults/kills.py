"""Killed at every write: SIGKILL right after the n-th write has reached the API server, before its answer is known.

Each scenario runs once without a kill: the reference. Then once for each of its writes. Every run must come to the
reference's end state within 60 s of the restart, and must have made and deleted each object as often as it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.apiserver.controlplane import ControlPlane
from tests.apiserver.inspections import IMAGE as IMAGE_OF_OPERATOR
from tests.apiserver.operators import eventually
from tests.apiserver.view import Object, View, llm
from tests.faults.common import Row, Stage, births_and_deaths, essence, stage
from triton_vllm_operator.api import kinds

BACK_S = 60.0
QUIET_S = 2.0  # no write for so long after the end state: the reference has ended
BEFORE_S = 40.0
IMAGE = {"release": "vllm-0.32.0", "image": "registry.example/triton-vllm:one"}
H100 = {"gpu": {"product": "NVIDIA-H100-80GB-HBM3"}}
"""GPUs whose memory is known without a node."""
LONGER = {"resources": H100, "engine": {"maxModelLen": 65536, "gpuMemoryUtilization": 0.8}}
"""What makes another choice: of the batch and of the number of GPUs."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """`before` is applied and served first, then `act` happens; `ready`: the CR says so at the end.

    `options`: more of the operator's.
    """

    name: str
    before: Object | None
    act: Callable[[View, str], None]
    ready: bool = True
    options: tuple[str, ...] = ()


def _applied(**spec: Any) -> Callable[[View, str], None]:
    return lambda view, name: view.apply(served(name, **spec))


def served(name: str, **spec: Any) -> Object:
    """An LLMDeployment whose children have the same content under every name."""
    model = {"uri": "hf://org/model", "name": "served", **spec.pop("model", {})}
    return llm(name, model=model, **spec)


def remove(view: View, name: str) -> None:
    view.plane.must("DELETE", kinds.LLM_DEPLOYMENT.path(view.namespace, name))


def _again(view: View, name: str) -> None:
    """Delete it and create it again, before anything is collected."""
    remove(view, name)
    view.apply(served(name, engine={"maxModelLen": 512}))


SCENARIOS = (
    Scenario("create", None, _applied()),
    Scenario("scale", {}, _applied(replicas=3)),
    Scenario("engine change", {}, _applied(engine={"maxModelLen": 1024})),
    Scenario("image change", {"server": IMAGE}, _applied(server=IMAGE | {"image": "registry.example/triton-vllm:two"})),
    Scenario(
        "rename of a claim",
        {"model": {"uri": "pvc://one/m"}},
        _applied(model={"uri": "pvc://two/m"}),
    ),
    Scenario("budget switched off", {}, _applied(service={"disruptionBudget": {"enabled": False}})),
    Scenario("delete", {}, remove, ready=False),
    Scenario("delete and create", {}, _again),
    Scenario("planned create", None, _applied(resources=H100), options=IMAGE_OF_OPERATOR),
    Scenario("planned, another choice", {"resources": H100}, _applied(**LONGER), options=IMAGE_OF_OPERATOR),
    Scenario(
        "planned, another model",
        {"resources": H100},
        _applied(resources=H100, model={"uri": "hf://org/other"}),
        options=IMAGE_OF_OPERATOR,
    ),
)


@dataclass(frozen=True, slots=True)
class End:
    """How a run ended: the state, what was made and deleted, writes through the proxy, seconds to get there."""

    state: dict[str, Any]
    counts: dict[str, int]
    writes: int
    took_s: float


class Runs:
    """All runs of one scenario, each with an LLMDeployment of its own, on one stage."""

    def __init__(self, scenario: Scenario, on: Stage) -> None:
        self.scenario = scenario
        self.stage = on

    def reference(self) -> End:
        """The run without a kill."""
        name, since = self._prepare(0)
        began = time.monotonic()
        self.scenario.act(self.stage.view, name)
        eventually(f"{self.scenario.name} without a kill", lambda: self._done(name), BACK_S)
        self._quiet()
        return self._end(name, since, began)

    def killed(self, number: int, reference: End) -> End:
        """The run with a kill after that write. 0: the operator is down while it happens."""
        name, since = self._prepare(number + 1)
        operator, faulty = self.stage.operator, self.stage.proxy
        if number == 0:
            operator.kill()
            self.scenario.act(self.stage.view, name)
        else:
            dead = self._kill_after(number)
            self.scenario.act(self.stage.view, name)
            if not dead.wait(BEFORE_S):
                # Writes of the status are merged where their causes come at once: this run needed fewer. Then the
                # kill comes after the last one.
                assert len(faulty.writes) < number, f"no kill after write {number}"
                operator.kill()
            faulty.on_write = None
        began = time.monotonic()
        operator.start()
        try:
            eventually("end state", lambda: essence(self.stage.view, name) == reference.state, BACK_S)
        except AssertionError as error:
            differing = differences(reference.state, essence(self.stage.view, name))
            raise AssertionError(f"write {number}: another end state after {BACK_S:.0f} s: {differing}") from error
        took = time.monotonic() - began
        self._quiet()
        return self._end(name, since, time.monotonic() - took)

    def _prepare(self, number: int) -> tuple[str, int]:
        """Serve what was there before; its name and where the audit log stands then."""
        name = f"m{number}x"
        if self.stage.operator.handle is None:
            self.stage.operator.start()
        eventually("the operator has caught up", self.stage.operator.ready, BEFORE_S)
        if self.scenario.before is not None:
            self.stage.view.apply(served(name, **self.scenario.before))
            eventually("served before", lambda: _serves(self.stage.view, name), BEFORE_S)
            self._quiet()
        self.stage.proxy.writes.clear()
        return name, len(self.stage.view.plane.audit())

    def _kill_after(self, number: int) -> threading.Event:
        dead = threading.Event()
        self.stage.proxy.writes.clear()

        def kill(count: int) -> None:
            if count == number and not dead.is_set():
                self.stage.operator.kill()
                dead.set()

        self.stage.proxy.on_write = kill
        return dead

    def _done(self, name: str) -> bool:
        if not self.scenario.ready:
            found = essence(self.stage.view, name)
            return found["status"] is None and not found["children"] and not found["pods"]
        return _serves(self.stage.view, name)

    def _quiet(self) -> None:
        """Until the operator has written nothing for a while."""
        seen, since = -1, 0.0
        while time.monotonic() - since < QUIET_S:
            if len(self.stage.proxy.writes) != seen:
                seen, since = len(self.stage.proxy.writes), time.monotonic()
            time.sleep(0.1)

    def _end(self, name: str, since: int, began: float) -> End:
        counts = births_and_deaths(self.stage.view, name, since)
        took = time.monotonic() - began
        return End(essence(self.stage.view, name), dict(counts), len(self.stage.proxy.writes), took)


def _serves(view: View, name: str) -> bool:
    """The newest spec is served, and nothing of a former one is left."""
    found = view.get("llm", name)
    if found is None or found.get("status", {}).get("observedGeneration") != found["metadata"]["generation"]:
        return False
    children = [key for key, obj in view.children().items() if obj["metadata"]["labels"].get(LABEL) == name]
    maps = [child for kind, child in children if kind == "ConfigMap"]
    wants_budget = found["spec"]["service"]["disruptionBudget"]["enabled"]
    return view.condition(name).get("status") == "True" and len(maps) == 1 and len(children) == 4 + int(wants_budget)


LABEL = "serving.triton-vllm.dev/llmdeployment"


def run(plane: ControlPlane, scenario: Scenario, points: int | None = None) -> Row:
    """One scenario with a kill after each of its writes, or after the first `points`."""
    with stage(plane, *scenario.options) as made:
        runs = Runs(scenario, made)
        try:
            reference = runs.reference()
            last = reference.writes if points is None else min(points, reference.writes)
            ends = [runs.killed(number, reference) for number in range(last + 1)]
        except AssertionError as error:
            return Row("killed at every write", scenario.name, False, str(error))
    odd = [f"write {n}: {_difference(reference, end)}" for n, end in enumerate(ends) if end.counts != reference.counts]
    slowest = max(end.took_s for end in ends)
    figures = f"{reference.writes} writes, {len(ends)} kills, back within {slowest:.1f} s"
    return Row("killed at every write", scenario.name, not odd, "; ".join([figures, *odd]))


def differences(wanted: Any, found: Any, path: str = "") -> list[str]:
    """Where two states differ: path, what is wanted, what is there."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        keys = sorted({*wanted, *found})
        return [line for key in keys for line in differences(wanted.get(key), found.get(key), f"{path}/{key}")]
    return [] if wanted == found else [f"{path}: {wanted!r} is {found!r}"]


def _difference(reference: End, end: End) -> dict[str, tuple[int, int]]:
    """What was made or deleted another number of times: (in the reference, in the run)."""
    keys = {*reference.counts, *end.counts}
    pairs = {key: (reference.counts.get(key, 0), end.counts.get(key, 0)) for key in sorted(keys)}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
