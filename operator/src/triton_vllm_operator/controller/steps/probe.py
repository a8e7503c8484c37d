"""Sixth step: each ready pod is asked for one token, once per run of its container."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.conditions import ConditionType, find
from triton_vllm_operator.api.kinds import Key, Object
from triton_vllm_operator.controller.cluster import ClusterView
from triton_vllm_operator.desired import pod
from triton_vllm_operator.observed import needs, pods
from triton_vllm_operator.observed.observation import Observation


class TokenProbe(Protocol):
    """Asks a pod for a token."""

    async def ask(self, ip: str, model: str) -> str:
        """The error, or "" where the pod has answered with a token."""


@dataclass
class Prober:
    """Its only state is which runs of pods have answered."""

    probe: TokenProbe
    _answered: dict[Key, frozenset[str]] = field(default_factory=dict)

    def forget(self, key: Key) -> None:
        """The LLMDeployment was deleted."""
        self._answered.pop(key, None)

    async def prove(
        self, cluster: ClusterView, key: Key, status: Mapping[str, Any], observation: Observation
    ) -> Observation:
        """The observation with the pods' answers. `status`: of the LLMDeployment as read."""
        if key not in self._answered:
            live = cluster.children(kinds.POD, key)
            self._answered[key] = _answered_before(status, observation.llm.generation, live)
        known = replace(observation, answers=dict.fromkeys(self._answered[key], ""))
        asked = needs.pods_to_prove(known)
        model = observation.llm.model_name
        errors = await asyncio.gather(*(self.probe.ask(one.ip, model) for one in asked))
        answers = {**known.answers, **{one.run: error for one, error in zip(asked, errors, strict=True)}}
        runs = {one.run for one in known.pods}
        self._answered[key] = frozenset(run for run, error in answers.items() if error == "" and run in runs)
        return replace(known, answers=answers)


def _answered_before(status: Mapping[str, Any], generation: int, live: list[Object]) -> frozenset[str]:
    """Runs that had answered before the operator restarted: their pods were ready when Ready became true."""
    ready = find(status.get("conditions", []), ConditionType.READY) or {}
    if ready.get("status") != "True" or ready.get("observedGeneration") != generation:
        return frozenset()
    states = [(obj, pods.read(obj, pod.CONTAINER)) for obj in live]
    return frozenset(state.run for obj, state in states if _ready_since(obj) <= ready["lastTransitionTime"])


def _ready_since(obj: Object) -> str:
    """RFC 3339 time since which a pod is ready; later than any time while it is not."""
    conditions = obj.get("status", {}).get("conditions", [])
    ready = next((c for c in conditions if c["type"] == "Ready" and c["status"] == "True"), None)
    return str(ready["lastTransitionTime"]) if ready else "~"
