"""Reconcile step: the LLMDeployment is claimed, or left alone where another operator has claimed it and answers."""

from __future__ import annotations

import asyncio
import logging
import math
from dataclasses import dataclass, field

from triton_vllm_operator.api import names
from triton_vllm_operator.api.kinds import Key, Object
from triton_vllm_operator.api.status import OperatorStatus
from triton_vllm_operator.controller.cluster import ClusterView
from triton_vllm_operator.observed import claims
from triton_vllm_operator.observed.claims import TAKEOVER_S, Turn

log = logging.getLogger(__name__)


@dataclass
class Claims:
    """Its only state is when this operator has asked, and since when it has no answer, on its own clock."""

    takeover_s: float = TAKEOVER_S
    _open: dict[Key, tuple[str, float]] = field(default_factory=dict)
    _asked: dict[Key, float] = field(default_factory=dict)

    def forget(self, cluster: ClusterView, key: Key) -> None:
        """The LLMDeployment was deleted."""
        self._open.pop(key, None)
        self._asked.pop(key, None)
        cluster.contested.pop(key, None)

    async def claim(self, cluster: ClusterView, key: Key, obj: Object, now: str) -> tuple[Turn, Object]:
        """Whose turn it is, and the LLMDeployment as it is after what was written for that.

        Raises:
            KubeError: where the claim cannot be written, for one because another operator was first.
        """
        recorded = OperatorStatus.recorded(obj.get("status", {}).get("operator"))
        unanswered_s = self._unanswered_s(key, claims.unanswered(recorded, cluster.operator))
        asked_s = asyncio.get_running_loop().time() - self._asked.get(key, -math.inf)
        turn = claims.turn(recorded, cluster.operator, now, unanswered_s, asked_s, self.takeover_s)
        self._report(cluster, key, turn)
        if turn.write is None:
            return turn, obj
        if turn.mine and recorded is not None and recorded.name != cluster.operator:
            log.warning("%s: operator %s has not answered for %.0f s: taken over", key, recorded.name, unanswered_s)
        written = await _write(cluster, obj, turn.write)
        if not turn.mine:
            self._asked[key] = asyncio.get_running_loop().time()
        return turn, written

    def _unanswered_s(self, key: Key, question: str | None) -> float:
        if question is None:
            self._open.pop(key, None)
            return 0.0
        now = asyncio.get_running_loop().time()
        if self._open.get(key, ("", 0.0))[0] != question:
            self._open[key] = question, now
        return now - self._open[key][1]

    def _report(self, cluster: ClusterView, key: Key, turn: Turn) -> None:
        known = cluster.contested.pop(key, "")
        if turn.other:
            cluster.contested[key] = turn.other
        if turn.other and turn.other != known:
            does = "would reconcile it too" if turn.mine else "reconciles it; it is left alone while that one answers"
            log.warning("%s: operator %s %s. Give each operator its own namespaces", key, turn.other, does)


async def _write(cluster: ClusterView, obj: Object, claim: OperatorStatus) -> Object:
    version = {key: obj["metadata"][key] for key in ("name", "namespace", "resourceVersion")}
    status = {**obj.get("status", {}), "operator": claim.model_dump(by_alias=True, exclude_none=True)}
    body = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": version, "status": status}
    return await cluster.client.apply_status(body)
