"""Which facts are fetched, what must stay while a rollout runs, and when a deployment is looked at again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.builders.observations import observation, pod, unschedulable, waiting
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.observed import findings, needs
from triton_vllm_operator.observed.findings import Finding, first_finding
from triton_vllm_operator.observed.observation import Observation


def test_what_an_observation_needs_is_known_before_it_is_fetched() -> None:
    assert needs.waits_for_gpu(observation(unschedulable("2 Insufficient nvidia.com/gpu")))
    assert not needs.waits_for_gpu(observation(unschedulable("2 Insufficient cpu")))
    assert needs.waits_for_gpu(observation(unschedulable("0/1 nodes are available: 1 cannot allocate all claims.")))
    creating = observation(pod(**waiting("ContainerCreating")))
    assert [p.name for p in needs.pods_in_creation(creating)] == ["p"]
    assert [p.name for p in needs.pods_to_prove(observation(pod(ready=True)))] == ["p"]
    assert needs.pods_to_prove(observation(pod(ready=True), answers={"uid-p/0": ""})) == []


def test_the_newest_mount_event_counts() -> None:
    events = [
        {"reason": "FailedMount", "message": "old", "lastTimestamp": "2026-01-01T00:00:00Z"},
        {"reason": "FailedMount", "message": "new", "lastTimestamp": "2026-01-02T00:00:00Z"},
        {"reason": "Pulled", "message": "image", "lastTimestamp": "2026-01-03T00:00:00Z"},
    ]
    assert needs.mount_error(events) == "new"
    assert needs.mount_error([]) == ""


# ------------------------------------------------------------------------------------------- model repositories

NEW, OLD, OLDER = ({"metadata": {"name": f"llama-{name}"}} for name in ("new", "old", "older"))


def mounting(name: str) -> dict[str, Any]:
    return {"volumes": [{"name": "models", "configMap": {"name": name}}, {"name": "cache", "emptyDir": {}}]}


def live(generation: int = 2, **status: int) -> dict[str, Any]:
    counts = {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1} | status
    return {
        "metadata": {"generation": generation},
        "spec": {"template": {"spec": mounting("llama-new")}},
        "status": counts,
    }


ROLLING: list[tuple[str, dict[str, Any]]] = [
    ("a pod of the old configuration is left", live(replicas=2)),
    ("no pod of the new configuration exists yet", live(updatedReplicas=0)),
    ("the controller has not seen the newest spec", live(generation=3)),
    ("the controller has not written a status", {**live(), "status": {}}),
]


@pytest.mark.parametrize(("why", "found"), ROLLING, ids=[row[0] for row in ROLLING])
def test_a_rollout_keeps_every_repository_also_one_whose_pod_was_evicted(why: str, found: dict[str, Any]) -> None:
    pods = [{"spec": mounting("llama-new")}]  # the pod with llama-old was evicted; its successor mounts llama-old
    kept = needs.repositories_in_use(found, pods, [NEW, OLD, OLDER])
    assert kept == {"llama-new", "llama-old", "llama-older"}


def test_without_a_rollout_only_mounted_repositories_are_kept() -> None:
    assert needs.repositories_in_use(live(), [{"spec": mounting("llama-new")}], [NEW, OLD]) == {"llama-new"}
    assert needs.repositories_in_use(live(), [], [NEW, OLD]) == {"llama-new"}, "the template's own"
    stopping = [{"spec": mounting("llama-old")}]
    assert needs.repositories_in_use(live(), stopping, [NEW, OLD, OLDER]) == {"llama-new", "llama-old"}
    assert needs.repositories_in_use(None, stopping, [OLD, OLDER]) == {"llama-old"}


# ------------------------------------------------------------------------------------------------- the next look

PERIODS: list[tuple[str, Observation, float | None]] = [
    ("ready without a token", observation(pod(ready=True), ready=1), None),
    ("waits for a volume", observation(pod(**waiting("ContainerCreating"))), 4.0),
    ("waits for GPUs", observation(unschedulable("2 Insufficient nvidia.com/gpu")), 30.0),
    ("pulls its image", observation(pod(**waiting("ImagePullBackOff", "x"))), None),
    ("waits for CPU", observation(unschedulable("2 Insufficient cpu")), None),
    ("scales", observation(), None),
]


@pytest.mark.parametrize(("why", "seen", "seconds"), PERIODS, ids=[row[0] for row in PERIODS])
def test_what_no_watch_event_reports_is_checked_again(why: str, seen: Observation, seconds: float | None) -> None:
    assert findings.recheck_s(seen, first_finding(seen)) == seconds


def test_a_deployment_that_serves_is_left_to_the_watches() -> None:
    serving = observation(pod(ready=True), ready=1, answers={"uid-p/0": ""})
    assert findings.recheck_s(serving, None) is None
    assert findings.recheck_s(serving, Finding(Reason.STARTING, "x")) is None
