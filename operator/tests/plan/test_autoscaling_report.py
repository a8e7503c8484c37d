"""What the status says of autoscaling, and how rarely it changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.builders.deployments import llm
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.observed.gpu_shortage import ClassOfGPUs, GPUUse, GPUUser
from triton_vllm_operator.plan.autoscaling import Decision, Limit, Metric
from triton_vllm_operator.plan.autoscaling_report import (
    Scaling,
    Seen,
    first,
    other_scaler,
    report,
    with_unused_replicas,
)

AUTOSCALING = {"maxReplicas": 4, "target": {"inFlightPerReplica": 8}}
FULL = GPUUse("nvidia.com/gpu", 2, 2, [ClassOfGPUs("A10", 2, 0, 0, [GPUUser("pod team/x", 2, 0)])], None, 0, True)


def scaled(replicas: int = 2) -> LLMDeployment:
    return llm(autoscaling=AUTOSCALING).with_scaled(replicas)


def decision(desired: int = 2, current: float | None = 6.0, *limits: Limit, **more: Any) -> Decision:
    metrics = (Metric("inFlightPerReplica", current, 8.0),)
    by = "" if current is None else "inFlightPerReplica"
    return Decision(desired, more.pop("recommended", desired), metrics, by, limits, **more)


def said(made: Decision, seen: Seen | None = None, before: Scaling | None = None, at: float = 100.0) -> Scaling:
    return report(scaled(), made, seen or Seen(2), before or first(scaled(), {}), (at, f"t{at:.0f}"))


CASES: dict[str, tuple[Decision, Seen, tuple[str, Reason], str]] = {
    "follows": (
        decision(),
        Seen(2),
        ("True", Reason.AUTOSCALED),
        "2 pods should run. spec.autoscaling.target.inFlightPerReplica asks for the most pods.",
    ),
    "one": (decision(1), Seen(2), ("True", Reason.AUTOSCALED), "1 pod should run."),
    "maximum": (
        decision(4, 99.0, Limit.MAXIMUM),
        Seen(2),
        ("True", Reason.AUTOSCALING_AT_MAXIMUM),
        "4 pods should run. That is spec.autoscaling.maxReplicas; the targets ask for more. Raise it",
    ),
    "no GPU": (
        decision(2, 99.0, Limit.GPUS, recommended=4),
        Seen(2, use=FULL),
        ("True", Reason.AUTOSCALING_NEEDS_GPUS),
        "2 pods should run. The targets ask for 4. A pod needs 1 nvidia.com/gpu on one node. Of 2 A10, none is free; "
        "held by pod team/x 2.",
    ),
    "no GPU, holders not known": (
        decision(2, 99.0, Limit.GPUS, recommended=4),
        Seen(2),
        ("True", Reason.AUTOSCALING_NEEDS_GPUS),
        "2 pods should run. The targets ask for 4.",
    ),
    "no pod": (decision(2, None), Seen(0), ("Unknown", Reason.AUTOSCALING_STARTING), "No pod is ready"),
    "no answer": (
        decision(2, None),
        Seen(2, {"b": "no", "a": "no response from port 8002 within 2 s"}),
        ("False", Reason.AUTOSCALING_WITHOUT_METRICS),
        "stays as it is. Pod a: no response from port 8002 within 2 s. Allow connections",
    ),
    "a target without a value": (
        decision(missing=("kvCacheUsage",)),
        Seen(2),
        ("True", Reason.AUTOSCALED),
        "No ready pod reports kvCacheUsage, so no pod is removed.",
    ),
    "twice": (
        decision(),
        Seen(2, other="mine"),
        ("True", Reason.AUTOSCALED_TWICE),
        "HorizontalPodAutoscaler mine scales it too, which has no effect while spec.autoscaling is set. Delete the",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_reason_and_what_to_do(name: str) -> None:
    made, seen, expected, words = CASES[name]
    condition = said(made, seen).condition
    assert (condition.status, condition.reason) == expected
    assert words in condition.message


def test_a_changed_number_is_reported_at_once_and_a_changed_load_is_not() -> None:
    before = said(decision())
    assert said(decision(2, 8.1), before=before, at=115) is before
    after = said(decision(3, 12.0), before=before, at=115)
    assert (after.status.desired_replicas, after.status.last_scale_time) == (3, "t115")
    assert after.status.metrics[0].current == 12


def test_a_changed_reason_is_reported_at_once() -> None:
    after = said(decision(2, 99.0, Limit.GPUS), before=said(decision()), at=115)
    assert after.condition.reason == Reason.AUTOSCALING_NEEDS_GPUS


@pytest.mark.parametrize(("current", "at", "shown"), [(7.9, 161, 6.0), (8.0, 159, 6.0), (8.04, 161, 8.04)])
def test_a_load_is_written_again_after_a_minute_where_it_moved_by_a_quarter(
    current: float, at: float, shown: float
) -> None:
    after = said(decision(2, current), before=said(decision()), at=at)
    assert after.status.metrics[0].current == shown


def test_the_same_again_is_the_same() -> None:
    before = said(decision())
    after = said(decision(2, 7.0), before=before, at=500)
    assert replace(after, at=before.at) == before


def test_what_an_earlier_process_has_reported_stays_until_it_changes() -> None:
    before = said(decision())
    condition = {
        "type": "AutoscalingActive",
        "status": before.condition.status,
        "reason": str(before.condition.reason),
        "message": before.condition.message,
    }
    found = first(scaled(), {"status": {"autoscaling": before.status.to_json(), "conditions": [condition]}})
    assert (found.status, found.condition) == (before.status, before.condition)
    assert first(scaled(3), {}).status.desired_replicas == 3


@pytest.mark.parametrize(
    ("kind", "name", "found"),
    [("LLMDeployment", "llama", "h"), ("Deployment", "llama", "h"), ("Deployment", "b", ""), ("Job", "llama", "")],
)
def test_a_scaler_of_the_same_target_is_found(kind: str, name: str, found: str) -> None:
    scaler = {"metadata": {"name": "h"}, "spec": {"scaleTargetRef": {"kind": kind, "name": name}}}
    assert other_scaler(llm(), [{"metadata": {"name": "x"}}, scaler]) == found


def test_replicas_that_kubectl_scale_has_set_are_said_to_have_no_effect() -> None:
    condition = said(decision()).condition
    obj: dict[str, Any] = {"metadata": {"managedFields": [{"subresource": "scale"}]}, "spec": {"replicas": 5}}
    assert "has set spec.replicas to 5. spec.replicas has no effect" in with_unused_replicas(condition, obj, 2).message
    assert with_unused_replicas(condition, obj, 5) is condition
    assert with_unused_replicas(condition, {"metadata": {}, "spec": {"replicas": 5}}, 2) is condition
