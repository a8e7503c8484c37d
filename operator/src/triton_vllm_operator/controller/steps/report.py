"""Reconcile step: the status is written where it has changed, with events and a log line for what is new in it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from triton_vllm_operator.api import kinds, names
from triton_vllm_operator.api.conditions import Condition, ConditionType, events, find
from triton_vllm_operator.api.kinds import Object
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.controller.cluster import ClusterView
from triton_vllm_operator.controller.queue import Result
from triton_vllm_operator.controller.steps.plan import Planned
from triton_vllm_operator.controller.steps.read_back import ReadBack
from triton_vllm_operator.desired import services
from triton_vllm_operator.desired.inputs import ServingImage
from triton_vllm_operator.kube.errors import KubeError
from triton_vllm_operator.observed import findings, refusals
from triton_vllm_operator.observed.finding import lasting
from triton_vllm_operator.observed.observation import Observation
from triton_vllm_operator.observed.status import StatusBuilder
from triton_vllm_operator.plan.autoscaling_report import Scaling
from triton_vllm_operator.plan.rollout_report import Rollout
from triton_vllm_operator.plan.validation import Rejected

log = logging.getLogger(__name__)

TROUBLE_S = 600.0
"""How long failures count as progress: an upgrade of the control plane or of a webhook takes less."""
_LONG_AGO = "1970-01-01T00:00:00Z"
_RETRIED = "It is tried again, with growing delays."


@dataclass(frozen=True, slots=True)
class Deployed:
    """The serving image that is deployed, the rollout, and what autoscaling reports; None without it."""

    image: ServingImage
    rollout: Rollout
    scaling: Scaling | None = None


async def report_rejected(cluster: ClusterView, obj: Object, rejected: Rejected, now: str) -> Result:
    """The spec is rejected; the children stay as they are."""
    await _write(cluster, obj, _builder(obj, now).rejected(rejected.reason, rejected.message))
    # An object of others is not watched, so there is no event when it is deleted.
    soon = rejected.reason in {Reason.NAME_TAKEN, Reason.CREATING}
    return Result(rejected.reason, after=5.0 if soon else 30.0)


async def report_held(cluster: ClusterView, obj: Object, planned: Planned, advisory: Condition, now: str) -> Result:
    """No pods are made; the children that exist stay as they are."""
    assert planned.hold is not None
    await _write(cluster, obj, _builder(obj, now).held(planned.hold, [advisory, *planned.conditions], planned.status))
    return Result(planned.hold.reason, after=planned.after)


async def report_observed(
    cluster: ClusterView,
    obj: Object,
    deployed: Deployed,
    observation: Observation,
    advisory: Condition,
    planned: Planned,
    read_back: ReadBack,
    now: str,
) -> Result:
    """The state of the children and their engines."""
    finding = findings.first_finding(observation)
    known = planned.status.model_copy(
        update={
            "release": deployed.image.release,
            "image": deployed.image.reference,
            "endpoints": services.endpoints(deployed.rollout.llm),
            "actual": read_back.actual,
            "rollout": deployed.rollout.status(observation.deployment),
            "autoscaling": deployed.scaling.status if deployed.scaling else None,
        }
    )
    conditions = [advisory, *planned.conditions, read_back.condition, deployed.rollout.condition()]
    conditions += [deployed.scaling.condition] if deployed.scaling else []
    await _write(cluster, obj, _builder(obj, now).observed(observation, finding, conditions, known))
    waits = (findings.recheck_s(observation, finding), planned.after, read_back.after)
    after = min((seconds for seconds in waits if seconds is not None), default=None)
    return Result(finding.reason if finding else "Ready", after=after)


async def report_error(cluster: ClusterView, obj: Object, error: Exception, now: str, since: str) -> None:
    """Why the reconcile fails again and again, as far as the API server accepts the status.

    Args:
        since: RFC 3339 time of the first of these failures that this process knows.
    """
    if isinstance(error, KubeError):
        reason, why = Reason.API_SERVER_ERROR, f"The API server rejected the request: {error}."
        why = f"{why} {refusals.advice(str(error), '')}".rstrip()
        advice = "Check the API server and its admission webhooks."
    else:
        what = f"{type(error).__name__}: {error}"
        reason, why = Reason.OPERATOR_ERROR, f"Internal error of the operator: {what}. Please report it."
        advice = "Its log has the details; another version of the operator may not have the defect."
    if _has_stalled(obj, reason):
        since = _LONG_AGO
    cause = lasting(now, reason, f"{why} {_RETRIED}", advice, since, TROUBLE_S)
    try:
        await _write(cluster, obj, _builder(obj, now).blocked(cause))
    except KubeError as unwritten:
        log.warning("%s: its status cannot be written: %s", kinds.ref_of(obj), unwritten)


def _has_stalled(obj: Object, reason: Reason) -> bool:
    """Whether another process has seen it for so long."""
    stalled = find(obj.get("status", {}).get("conditions", []), ConditionType.STALLED) or {}
    return (stalled.get("status"), stalled.get("reason")) == ("True", reason)


def _builder(obj: Object, now: str) -> StatusBuilder:
    return StatusBuilder(obj.get("status", {}), obj["metadata"].get("generation", 0), now)


async def _write(cluster: ClusterView, obj: Object, fresh: dict[str, Any]) -> None:
    """One write when something changed, none otherwise; events for conditions with a new reason."""
    before = obj.get("status", {})
    if fresh == before:
        return
    version = {key: obj["metadata"][key] for key in ("name", "namespace", "resourceVersion")}
    body = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": version, "status": fresh}
    await cluster.client.apply_status(body)
    for event in events(before.get("conditions", []), fresh["conditions"]):
        log.info("%s/%s: %s: %s", version["namespace"], version["name"], event.reason, event.message)
        await cluster.events.post(obj, kind=event.type, reason=event.reason, action=event.action, note=event.message)
