"""Which further facts one look needs, before they are fetched."""

from collections.abc import Iterable, Mapping
from typing import Any

from triton_vllm_operator.observed.observation import Observation
from triton_vllm_operator.observed.pods import PodState

_MOUNT_REASONS = {"FailedMount", "FailedAttachVolume", "FailedMapVolume"}


def waits_for_gpu(seen: Observation) -> bool:
    """A pod finds no node with enough GPUs, so the nodes and the other holders are worth a look."""
    resource = seen.llm.spec.resources.gpu.resource_name
    return any(f"Insufficient {resource}" in pod.unschedulable for pod in seen.judged_pods)


def pods_in_creation(seen: Observation) -> list[PodState]:
    """Scheduled pods whose container does not exist yet: their events may name a volume that is missing."""
    return [p for p in seen.judged_pods if p.node and p.waiting_reason in {"ContainerCreating", "PodInitializing"}]


def pods_to_prove(seen: Observation) -> list[PodState]:
    """Ready pods of which no token is known."""
    return [pod for pod in seen.live_pods if pod.ready and pod.ip and pod.run not in seen.answers]


def mount_error(events: Iterable[Mapping[str, Any]]) -> str:
    """The newest sentence about a volume in a pod's events, or ""."""
    told = [event for event in events if event.get("reason") in _MOUNT_REASONS]
    newest = max(told, key=lambda e: e.get("lastTimestamp") or e.get("eventTime") or "", default={})
    return str(newest.get("message", ""))


def volumes_of(pods: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Names of the ConfigMaps that pods mount."""
    volumes = (v for pod in pods for v in pod.get("spec", {}).get("volumes", []))
    return frozenset(v["configMap"]["name"] for v in volumes if "configMap" in v)
