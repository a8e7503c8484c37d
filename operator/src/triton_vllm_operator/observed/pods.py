"""Facts about a pod, read from its status."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from triton_vllm_operator.api import names
from triton_vllm_operator.api.conditions import find

SCHEDULING_GATED = "SchedulingGated"
"""Reason of the condition PodScheduled while `spec.schedulingGates` is not empty."""

_OVER = {"Succeeded", "Failed"}


@dataclass(frozen=True, slots=True)
class PodCondition:
    """A condition of a pod; all texts are "" where the pod does not have it."""

    status: str = ""
    reason: str = ""
    message: str = ""
    since: str = ""


@dataclass(frozen=True, slots=True)
class ContainerState:
    """The state of one container. Texts are "" where there is nothing to say.

    Attributes:
        kind: as Kubernetes calls it; a sidecar is any other container that runs beside the server.
        running_since: RFC 3339 time.
        failure_reason, failure_message: how the last run ended, unless it is an init container that has succeeded.
        failure_began: RFC 3339 time at which that run began.
        started: whether its startup probe has succeeded, or it has none and runs.
    """

    name: str
    kind: Literal["init container", "sidecar", "server"]
    ready: bool = False
    restarts: int = 0
    running: bool = False
    running_since: str = ""
    waiting_reason: str = ""
    waiting_message: str = ""
    failure_reason: str = ""
    failure_message: str = ""
    failure_began: str = ""
    started: bool = False


NOT_REPORTED = ContainerState("", "server")
"""The serving container of a pod whose kubelet has not reported its containers."""


@dataclass(frozen=True, slots=True)
class PodState:
    """Facts about one pod. Texts are "" where there is nothing to say.

    Attributes:
        config_hash: model repository that it mounts.
        template: hash of the pod template that it was made from, as the Deployment's controller labels it.
        created: RFC 3339 time of its creation.
        preempts_below: the scheduler may end pods of a lower priority than this for it; None: it ends none.
        unschedulable: the scheduler's own sentence, while it finds no node.
        phase, reason, message: of the pod's own status.
        deleted: RFC 3339 time at which its grace period ends, where it is being deleted.
        scheduler: name of the scheduler that it waits for.
        gates: names of the scheduling gates that are left.
        scheduled, became_ready, containers_ready, disrupted: conditions PodScheduled, Ready, ContainersReady and
            DisruptionTarget.
        containers: the states of all containers and init containers that the kubelet reports.
        changed: RFC 3339 time of the newest change that its status has a time for; at least that of its creation.
    """

    name: str
    uid: str
    ip: str
    node: str
    config_hash: str
    template: str
    created: str
    ready: bool
    deleting: bool
    preempts_below: int | None
    unschedulable: str
    phase: str = ""
    reason: str = ""
    message: str = ""
    deleted: str = ""
    scheduler: str = ""
    gates: tuple[str, ...] = ()
    scheduled: PodCondition = PodCondition()
    became_ready: PodCondition = PodCondition()
    containers_ready: PodCondition = PodCondition()
    disrupted: PodCondition = PodCondition()
    containers: tuple[ContainerState, ...] = ()
    changed: str = ""

    @property
    def others(self) -> list[ContainerState]:
        """Its init containers and sidecars."""
        return [one for one in self.containers if one.kind != "server"]

    @property
    def had_served(self) -> bool:
        """Whether it was ready in the run of its server that has failed: it became unready after that began."""
        began = self.server.failure_began
        return bool(began) and self.became_ready.status == "False" and self.became_ready.since > began

    @property
    def server(self) -> ContainerState:
        """The state of its serving container; `NOT_REPORTED` until the kubelet reports it."""
        return next((one for one in self.containers if one.kind == "server"), NOT_REPORTED)

    @property
    def run(self) -> str:
        """Identity of the running container: pod uid and restart count. A new run must prove itself again."""
        return f"{self.uid}/{self.server.restarts}"


def read(pod: Mapping[str, Any], container: str) -> PodState:
    """Read a Pod object; `container` is the name of the serving container."""
    meta, status = pod["metadata"], pod.get("status", {})
    spec = pod.get("spec", {})
    return PodState(
        name=meta["name"],
        uid=meta["uid"],
        ip=status.get("podIP", ""),
        node=spec.get("nodeName", ""),
        config_hash=meta.get("annotations", {}).get(names.CONFIG_HASH_ANNOTATION, ""),
        template=meta.get("labels", {}).get(names.POD_TEMPLATE_HASH_LABEL, ""),
        created=meta.get("creationTimestamp", ""),
        ready=_condition(status, "Ready").get("status") == "True",
        deleting="deletionTimestamp" in meta,
        preempts_below=None if spec.get("preemptionPolicy") == "Never" else spec.get("priority", 0),
        unschedulable=_unschedulable(status),
        phase=status.get("phase", ""),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        deleted=meta.get("deletionTimestamp", ""),
        scheduler=spec.get("schedulerName", "") or "default-scheduler",
        gates=tuple(gate.get("name", "") for gate in spec.get("schedulingGates", [])),
        scheduled=_read_condition(status, "PodScheduled"),
        became_ready=_read_condition(status, "Ready"),
        containers_ready=_read_condition(status, "ContainersReady"),
        disrupted=_read_condition(status, "DisruptionTarget"),
        containers=_containers(pod, container),
        changed=_changed(pod),
    )


def read_all(pods: Iterable[Mapping[str, Any]], container: str) -> list[PodState]:
    """Pods that are not over, by name."""
    alive = (pod for pod in pods if pod.get("status", {}).get("phase") not in _OVER)
    return sorted((read(pod, container) for pod in alive), key=lambda p: p.name)


def read_over(pods: Iterable[Mapping[str, Any]], container: str) -> list[PodState]:
    """Pods that have ended and do not run again, the newest first."""
    over = (pod for pod in pods if pod.get("status", {}).get("phase") in _OVER)
    return sorted((read(pod, container) for pod in over), key=lambda p: (p.changed, p.name), reverse=True)


def written_at(managers: Iterable[Mapping[str, Any]]) -> str:
    """Return the RFC 3339 time of the last change of an object's metadata or spec, by its managedFields; or ""."""
    return max((str(one.get("time") or "") for one in managers if not one.get("subresource")), default="")


def seconds_between(earlier: str, later: str) -> float:
    """Return the seconds between two RFC 3339 times; 0 where one of them is not known."""
    first, last = _time(earlier), _time(later)
    return (last - first).total_seconds() if first and last else 0.0


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None


def _unschedulable(status: Mapping[str, Any]) -> str:
    scheduled = _read_condition(status, "PodScheduled")
    if scheduled.status == "False" and scheduled.reason != SCHEDULING_GATED:
        return scheduled.message or scheduled.reason or "no node fits"
    return ""


def _ended(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return how the last run of a container ended, or {} where none has."""
    return (state.get("state") or {}).get("terminated") or (state.get("lastState") or {}).get("terminated") or {}


def _end(ended: Mapping[str, Any]) -> tuple[str, str]:
    """Return the reason and the message; a run that ended without a reason has that of its exit code."""
    if not ended:
        return "", ""
    return str(ended.get("reason") or f"ExitCode{ended.get('exitCode', '')}"), str(ended.get("message") or "")


def _containers(pod: Mapping[str, Any], server: str) -> tuple[ContainerState, ...]:
    spec, status = pod.get("spec", {}), pod.get("status", {})
    restartable = {c["name"] for c in spec.get("initContainers", []) if c.get("restartPolicy") == "Always"}
    found = []
    for state in status.get("initContainerStatuses") or []:
        found.append(_container(state, "sidecar" if state["name"] in restartable else "init container"))
    for state in status.get("containerStatuses") or []:
        found.append(_container(state, "server" if state["name"] == server else "sidecar"))
    return tuple(found)


def _container(state: Mapping[str, Any], kind: Literal["init container", "sidecar", "server"]) -> ContainerState:
    now = state.get("state") or {}
    waiting, running = now.get("waiting") or {}, now.get("running")
    done = kind == "init container" and (now.get("terminated") or {}).get("exitCode", 1) == 0
    reason, message = ("", "") if done else _end(_ended(state))
    return ContainerState(
        name=state["name"],
        kind=kind,
        ready=done or bool(state.get("ready")),
        restarts=state.get("restartCount", 0),
        running=running is not None,
        running_since=(running or {}).get("startedAt", ""),
        waiting_reason=waiting.get("reason", ""),
        waiting_message=waiting.get("message", ""),
        failure_reason=reason,
        failure_message=message,
        failure_began="" if done else _ended(state).get("startedAt") or "",
        started=bool(state.get("started")),
    )


def _changed(pod: Mapping[str, Any]) -> str:
    status = pod.get("status", {})
    states = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    times = [pod["metadata"].get("creationTimestamp", "")]
    times += [condition.get("lastTransitionTime") or "" for condition in status.get("conditions") or []]
    times += [_ended(state).get("finishedAt") or "" for state in states]
    times += [((state.get("state") or {}).get("running") or {}).get("startedAt") or "" for state in states]
    return str(max(times))


def _read_condition(status: Mapping[str, Any], kind: str) -> PodCondition:
    found = _condition(status, kind)
    keys = ("status", "reason", "message", "lastTransitionTime")
    return PodCondition(*(str(found.get(key) or "") for key in keys))


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    return find(status.get("conditions") or [], kind) or {}
