"""Which further facts an observation needs, and which objects are in use."""

from collections.abc import Iterable, Mapping
from typing import Any

from triton_vllm_operator.observed.observation import Observation
from triton_vllm_operator.observed.pods import PodState

_MOUNT_REASONS = {"FailedMount", "FailedAttachVolume", "FailedMapVolume"}
_NOT_CREATION = {"FailedScheduling", "Unhealthy", "BackOff", "Preempted", "Failed"}
"""Reasons of warnings about what comes before or after the creation, or what the container's state says better."""


def waits_for_gpu(seen: Observation) -> bool:
    """A pod finds no node with enough GPUs, so the nodes and the other users of their GPUs are read."""
    return any(lacks_gpus(seen, pod) for pod in seen.judged_pods)


def lacks_gpus(seen: Observation, pod: PodState) -> bool:
    """The scheduler says that nodes have too few GPUs left for this pod.

    Where a DeviceClass stands for the resource, it says so of claims, and the pods have no others.
    """
    return found_no_gpu(pod, seen.llm.spec.resources.gpu.resource_name)


def found_no_gpu(pod: PodState, resource: str) -> bool:
    """The scheduler says that nodes have too few left of an extended resource for this pod."""
    return any(words in pod.unschedulable for words in (f"Insufficient {resource}", "cannot allocate all claims"))


def pods_in_creation(seen: Observation) -> list[PodState]:
    """Scheduled pods whose container does not exist yet: their events may name a volume that is missing."""
    return [
        p for p in seen.judged_pods if p.node and p.server.waiting_reason in {"ContainerCreating", "PodInitializing"}
    ]


def pods_to_prove(seen: Observation) -> list[PodState]:
    """Ready pods of which no token is known."""
    return [pod for pod in seen.live_pods if pod.ready and pod.ip and pod.run not in seen.answers]


def mount_error(events: Iterable[Mapping[str, Any]]) -> str:
    """The newest sentence about a volume in a pod's events, or ""."""
    told = [event for event in events if event.get("reason") in _MOUNT_REASONS]
    newest = max(told, key=lambda e: e.get("lastTimestamp") or e.get("eventTime") or "", default={})
    return str(newest.get("message", ""))


def creation_error(events: Iterable[Mapping[str, Any]]) -> str:
    """The newest of a pod's events, where it is a warning about the creation of its containers and not of a volume."""
    newest = max(events, key=lambda e: e.get("lastTimestamp") or e.get("eventTime") or "", default={})
    if newest.get("type") != "Warning" or newest.get("reason") in _MOUNT_REASONS | _NOT_CREATION:
        return ""
    return f"{newest.get('reason', '')}: {newest.get('message', '')}"


def repositories_in_use(
    deployment: Mapping[str, Any] | None, pods: Iterable[Mapping[str, Any]], config_maps: Iterable[Mapping[str, Any]]
) -> frozenset[str]:
    """Names of the model repositories (ConfigMaps) that must stay.

    While a rollout is under way that is each one: the Deployment's controller may still make a pod of a former
    configuration, to replace one that was evicted, and that pod must find its volume.
    """
    if deployment is not None and _rolls(deployment):
        return frozenset(config_map["metadata"]["name"] for config_map in config_maps)
    specs = [pod.get("spec", {}) for pod in pods]
    if deployment is not None:
        specs.append(deployment["spec"]["template"]["spec"])
    volumes = (volume for spec in specs for volume in spec.get("volumes", []))
    return frozenset(volume["configMap"]["name"] for volume in volumes if "configMap" in volume)


def _rolls(deployment: Mapping[str, Any]) -> bool:
    """Whether the controller has not seen the newest spec yet, or pods of a former one are left."""
    status = deployment.get("status", {})
    seen = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    return not seen or status.get("updatedReplicas", 0) != status.get("replicas", 0)
