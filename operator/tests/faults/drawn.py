"""LLMDeployments drawn from the CRD's schema: good, odd, contradictory. Each is refused by the API server, gets ready,
or says why not; the good spec put back makes it ready. None is a defect of the operator, none makes it loop.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from dataclasses import dataclass

from tests.apiserver.controlplane import ControlPlane
from tests.apiserver.operators import eventually
from tests.apiserver.view import Object, llm
from tests.faults.common import Row, Stage, stage
from tests.faults.kills import remove
from tests.schema import draw
from triton_vllm_operator.api import kinds

BATCH = 25
SETTLED_S = 120.0
ODD = 0.06  # of the fields; most specs of a dozen fields then hold one
GOOD: Object = {"model": {"uri": "hf://org/model"}}
REASON = re.compile(r"[A-Z][A-Za-z0-9]+")


@dataclass
class Drawing:
    """One stage on which LLMDeployments are drawn."""

    on: Stage
    rand: random.Random

    def create(self, name: str) -> bool:
        """Whether the API server takes a drawn one. A refusal must say what is wrong."""
        spec = draw.draw(draw.spec_schema(), self.rand, odd=ODD)
        path = f"{kinds.LLM_DEPLOYMENT.path(self.on.view.namespace)}?fieldValidation=Strict"
        code, answer = self.on.view.plane.request("POST", path, llm(name) | {"spec": spec})
        if code == 201:
            return True
        assert code in (400, 422), f"{code}: {answer} for {spec}"
        assert answer["message"], spec
        return False

    def batch(self, names: list[str]) -> Counter[str]:
        """Create some, wait until each has a verdict, heal them; how many came to what."""
        taken = [name for name in names if self.create(name)]
        try:
            eventually("all have a verdict", lambda: not self._open(taken), SETTLED_S)
        except AssertionError as error:
            left = {name: self.on.view.condition(name) for name in self._open(taken)}
            raise AssertionError(f"no verdict: {left}") from error
        came = Counter("refused" for _ in range(len(names) - len(taken)))
        came.update(self._came_to(name) for name in taken)
        self._quiet()
        for name in taken:
            self._heal(name)
        try:
            eventually("all healed", lambda: all(self._ready(name) for name in taken), SETTLED_S)
        except AssertionError as error:
            ill = {name: self.on.view.condition(name) for name in taken if not self._ready(name)}
            raise AssertionError(f"not healed: {ill}") from error
        for name in taken:
            remove(self.on.view, name)
        return came

    def _ready(self, name: str) -> bool:
        return self._seen(name) and self.on.view.condition(name).get("status") == "True"

    def _seen(self, name: str) -> bool:
        found = self.on.view.get("llm", name) or {"metadata": {}}
        return bool(found.get("status", {}).get("observedGeneration") == found["metadata"].get("generation"))

    def _open(self, names: list[str]) -> list[str]:
        """Those without a final verdict."""
        return [name for name in names if not (self._seen(name) and self._final(name))]

    def _final(self, name: str) -> bool:
        ready, stalled = self.on.view.condition(name), self.on.view.condition(name, "Stalled")
        idle = self.on.view.summary(name).get("reason") == "ScaledToZero"
        return ready.get("status") == "True" or stalled.get("status") == "True" or idle

    def _came_to(self, name: str) -> str:
        condition = self.on.view.summary(name)
        assert REASON.fullmatch(condition["reason"]), condition
        assert len(condition["message"]) > 20, condition
        return "ready" if (condition["type"], condition["status"]) == ("Ready", "True") else str(condition["reason"])

    def _heal(self, name: str) -> None:
        path = kinds.LLM_DEPLOYMENT.path(self.on.view.namespace, name)
        patch = [{"op": "replace", "path": "/spec", "value": GOOD}]
        code, answer = self.on.view.plane.request("PATCH", path, patch, "application/json-patch+json")
        assert code == 200, answer

    def _quiet(self) -> None:
        """With a verdict on each the writes end; retries of what Kubernetes refuses back off."""
        time.sleep(3)
        before = len(self.on.proxy.writes)
        time.sleep(5)
        more = len(self.on.proxy.writes) - before
        assert more <= BATCH, f"{more} writes in 5 s with nothing to do: {self.on.proxy.writes[-5:]}"


def run(plane: ControlPlane, seed: int, count: int) -> Row:
    came: Counter[str] = Counter()
    with stage(plane) as made:
        drawing = Drawing(made, random.Random(seed))
        try:
            made.operator.start()
            eventually("the operator has caught up", made.operator.ready)
            for first in range(0, count, BATCH):
                came += drawing.batch([f"d{number}" for number in range(first, min(first + BATCH, count))])
            defects = made.operator.counted('triton_vllm_operator_reconciles_total{reason="Exception",result="defect"}')
            assert came["refused"] < count, "the API server has rejected every spec: the operator has seen none"
            assert defects == 0, f"{defects:.0f} defects: {made.operator.log.read_text()[-2000:]}"
        except AssertionError as error:
            return Row("drawn from the schema", f"{count} specs", False, f"{dict(came)}; {error}")
    return Row(
        "drawn from the schema", f"{count} specs", True, ", ".join(f"{n} {what}" for what, n in came.most_common())
    )
