"""The status of an LLMDeployment, computed from one observation."""

from collections.abc import Mapping, Sequence
from typing import Any

from triton_vllm_operator.api import names
from triton_vllm_operator.api.conditions import Condition, find, merge
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.observed.findings import Finding
from triton_vllm_operator.observed.observation import Observation

# Conditions that a refused spec leaves as they were.
_KEPT = ("Available", "SecurityAdvisory", "ModelResolved", "Fits")


def conditions(seen: Observation, finding: Finding | None) -> list[Condition]:
    """Ready, Available, Reconciling and Stalled, in the meaning that kstatus gives the last two.

    There is no Ready where no pod is wanted: it cannot be true without a token, and false would keep those who wait for
    the wanted state (kstatus: Helm, flux) waiting for ever.
    """
    wanted = finding is None or finding.reason != Reason.SCALED_TO_ZERO
    return [*([_ready(seen, finding)] if wanted else []), _available(seen), *_progress(finding)]


def refused(reason: Reason, message: str) -> list[Condition]:
    """The conditions of a spec that cannot work as it stands; its children are left as they are."""
    finding = Finding(reason, message)
    return [Condition("Ready", "False", reason, message), *_progress(finding)]


def _ready(seen: Observation, finding: Finding | None) -> Condition:
    if finding is not None:
        return Condition("Ready", "False", finding.reason, finding.message)
    count = len(seen.proven_pods)
    pods = "1 pod has" if count == 1 else f"{count} pods have"
    return Condition("Ready", "True", Reason.SERVING, f"{pods} answered with a token.")


def _available(seen: Observation) -> Condition:
    serving, wanted = len([pod for pod in seen.live_pods if pod.ready]), seen.llm.spec.replicas
    if serving and serving >= wanted:
        return Condition("Available", "True", Reason.ENOUGH_REPLICAS, f"{serving} of {wanted} wanted pods are ready.")
    if serving:
        message = f"{serving} of {wanted} wanted pods are ready; requests are served with less capacity."
        return Condition("Available", "False", Reason.TOO_FEW_REPLICAS, message)
    return Condition("Available", "False", Reason.NO_REPLICAS, "No pod is ready, so requests fail.")


def _progress(finding: Finding | None) -> list[Condition]:
    if finding is None:
        done = "Nothing is left to do."
        return [
            Condition("Reconciling", "False", Reason.SERVING, done),
            Condition("Stalled", "False", Reason.SERVING, done),
        ]
    return [
        Condition("Reconciling", "True" if finding.progressing else "False", finding.reason, finding.message),
        Condition("Stalled", "True" if finding.stalled else "False", finding.reason, finding.message),
    ]


def status(
    seen: Observation,
    finding: Finding | None,
    advisory: Condition,
    previous: Mapping[str, Any],
    facts: Mapping[str, Any],
    now: str,
    more: Sequence[Condition] = (),
) -> dict[str, Any]:
    """The whole status to write.

    Args:
        advisory: what is known against the image.
        previous: the status as read, for the times of its conditions.
        facts: what the spec alone decides: release, image, endpoints.
        now: RFC 3339 time.
        more: conditions that were known before the children were looked at.
    """
    current = [*conditions(seen, finding), advisory, *more]
    return {
        "observedGeneration": seen.llm.generation,
        "conditions": merge(previous.get("conditions", []), current, seen.llm.generation, now),
        "replicas": len(seen.live_pods),
        "readyReplicas": len([pod for pod in seen.live_pods if pod.ready]),
        "updatedReplicas": len(seen.current_pods),
        "selector": ",".join(f"{key}={value}" for key, value in names.selector(seen.llm.name).items()),
        "modelName": seen.llm.model_name,
        "gpusPerReplica": seen.llm.gpus_per_pod,
        **facts,
    }


def refused_status(
    previous: Mapping[str, Any], reason: Reason, message: str, generation: int, now: str
) -> dict[str, Any]:
    """The status of a refused spec: new conditions, everything else as it was.

    Available and what is known of image, model and engine are kept: what was deployed before goes on serving.
    """
    kept = [c for c in previous.get("conditions", []) if c.get("type") in (*_KEPT, "PlanAccurate")]
    fresh = merge(previous.get("conditions", []), refused(reason, message), generation, now)
    return {**previous, "observedGeneration": generation, "conditions": kept + fresh}


def troubled_status(previous: Mapping[str, Any], trouble: Finding, generation: int, now: str) -> dict[str, Any]:
    """The status while the operator cannot do what it wants to: what is known stays, and the cause is told.

    What served this generation may serve still, so its Ready is kept.
    """
    before = previous.get("conditions", [])
    ready = find(before, "Ready") or {}
    serves = ready.get("status") == "True" and ready.get("observedGeneration") == generation
    current = [] if serves else [Condition("Ready", "False", trouble.reason, trouble.message)]
    fresh = merge(before, [*current, *_progress(trouble)], generation, now)
    return {**previous, "observedGeneration": generation, "conditions": _beside(before, fresh)}


def held_status(
    previous: Mapping[str, Any],
    hold: Finding,
    current: Sequence[Condition],
    facts: Mapping[str, Any],
    generation: int,
    now: str,
) -> dict[str, Any]:
    """The status while no pods are made: children, and what is true of them, are left as they are.

    Args:
        current: the conditions besides Ready, Reconciling and Stalled that were just computed.
        facts: model and plan, as far as they are known; nothing is chosen yet.
    """
    ready = Condition("Ready", "False", hold.reason, hold.message)
    fresh = merge(previous.get("conditions", []), [ready, *_progress(hold), *current], generation, now)
    kept = [c for c in previous.get("conditions", []) if c.get("type") in _KEPT]
    body = {key: value for key, value in previous.items() if key not in ("model", "plan", "chosen")}
    return {**body, **facts, "observedGeneration": generation, "conditions": _beside(kept, fresh)}


def _beside(before: Sequence[Mapping[str, Any]], fresh: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Fresh conditions and those of before that they do not replace, by type."""
    told = {c["type"] for c in fresh}
    every = [*(c for c in before if c.get("type") not in told), *fresh]
    return sorted(every, key=lambda c: str(c["type"]))
