"""Facts about a pod, read from its status."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from triton_vllm_operator.api import names


@dataclass(frozen=True, slots=True)
class PodState:
    """Facts about one pod. Texts are "" where there is nothing to say.

    Attributes:
        run: identity of the running container: pod uid and restart count. A new run must prove itself again.
        config_hash: model repository that it mounts.
        template: hash of the pod template that it was made from, as the Deployment's controller labels it.
        created: RFC 3339 time of its creation.
        preempts_below: the scheduler may end pods of a lower priority than this for it; None: it ends none.
        unschedulable: the scheduler's own sentence, while it finds no node.
        waiting_reason, waiting_message: why the container does not run.
        failure_reason, failure_message: how the last run of the container ended.
    """

    name: str
    uid: str
    run: str
    ip: str
    node: str
    config_hash: str
    template: str
    created: str
    ready: bool
    started: bool
    deleting: bool
    restarts: int
    preempts_below: int | None
    unschedulable: str
    waiting_reason: str
    waiting_message: str
    failure_reason: str
    failure_message: str


def read(pod: Mapping[str, Any], container: str) -> PodState:
    """Read a Pod object; `container` is the name of the serving container."""
    meta, status = pod["metadata"], pod.get("status", {})
    state: Mapping[str, Any] = next((c for c in status.get("containerStatuses", []) if c["name"] == container), {})
    waiting = state.get("state", {}).get("waiting", {})
    ended = state.get("state", {}).get("terminated") or state.get("lastState", {}).get("terminated") or {}
    restarts = state.get("restartCount", 0)
    spec = pod.get("spec", {})
    return PodState(
        name=meta["name"],
        uid=meta["uid"],
        run=f"{meta['uid']}/{restarts}",
        ip=status.get("podIP", ""),
        node=spec.get("nodeName", ""),
        config_hash=meta.get("annotations", {}).get(names.CONFIG_HASH_ANNOTATION, ""),
        template=meta.get("labels", {}).get("pod-template-hash", ""),
        created=meta.get("creationTimestamp", ""),
        ready=_condition(status, "Ready").get("status") == "True",
        started=bool(state.get("started")),
        deleting="deletionTimestamp" in meta,
        restarts=restarts,
        preempts_below=None if spec.get("preemptionPolicy") == "Never" else spec.get("priority", 0),
        unschedulable=_unschedulable(status),
        waiting_reason=waiting.get("reason", ""),
        waiting_message=waiting.get("message", ""),
        failure_reason=ended.get("reason", "") if ended else _evicted(status)[0],
        failure_message=ended.get("message", "") if ended else _evicted(status)[1],
    )


def read_all(pods: Iterable[Mapping[str, Any]], container: str) -> list[PodState]:
    """Pods that are not over, by name."""
    alive = (pod for pod in pods if pod.get("status", {}).get("phase") not in {"Succeeded", "Failed"})
    return sorted((read(pod, container) for pod in alive), key=lambda p: p.name)


def _unschedulable(status: Mapping[str, Any]) -> str:
    scheduled = _condition(status, "PodScheduled")
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        return str(scheduled.get("message", "no node fits"))
    return ""


def _evicted(status: Mapping[str, Any]) -> tuple[str, str]:
    return status.get("reason", ""), status.get("message", "")


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    return next((c for c in status.get("conditions", []) if c["type"] == kind), {})
