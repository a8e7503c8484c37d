"""Liveness and readiness of the process for the kubelet, and its gauges for Prometheus."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Protocol

from prometheus_client.core import Metric

from triton_vllm_operator.api.kinds import Key
from triton_vllm_operator.controller.cluster import ClusterView
from triton_vllm_operator.controller.leader import Leader
from triton_vllm_operator.controller.metrics import gauge
from triton_vllm_operator.controller.queue import KeyedQueue
from triton_vllm_operator.controller.scopes import Scope, Scopes
from triton_vllm_operator.controller.settings import Settings
from triton_vllm_operator.controller.watch_audit import WatchAudit
from triton_vllm_operator.controller.watches import KopfWatch
from triton_vllm_operator.kube.errors import KubeError
from triton_vllm_operator.kube.reflector import Reflector
from triton_vllm_operator.webhook.server import Webhook

STUCK_S = 120.0
"""No request begun for this long means a stuck loop, not a slow server: every request ends within 25 s and every delay
within 15 s. An API server that is down does not fail the liveness probe: a restart would only add a crash loop's
delays."""
_LONG_WAIT_S = 10.0


class Process(Protocol):
    """The parts of the manager whose state is shown."""

    settings: Settings
    cluster: ClusterView
    queue: KeyedQueue[Key]
    leader: Leader
    scopes: Scopes
    watch: KopfWatch
    audit: WatchAudit
    webhook: Webhook | None

    @property
    def reflectors(self) -> list[Reflector]: ...


def liveness_problems(process: Process) -> list[str]:
    """What only a restart would fix."""
    now = asyncio.get_running_loop().time()
    problems = [
        f"watch {reflector.name} has been idle for {now - reflector.health.turned:.0f} s"
        for reflector in process.reflectors
        if now - reflector.health.turned > STUCK_S
    ]
    kopf_idle_s, queue = time.monotonic() - process.watch.turned, process.queue
    if kopf_idle_s > STUCK_S:
        problems.append(f"kopf has sent no request for {kopf_idle_s:.0f} s")
    if queue.oldest_work() > process.settings.queue.stuck_s + STUCK_S:
        problems.append(f"a reconcile has been running for {queue.oldest_work():.0f} s")
    if process.leader.leading and queue.longest_wait() > STUCK_S:
        problems.append(f"a key has been waiting for {queue.longest_wait():.0f} s")
    return problems


def readiness_problems(process: Process) -> list[str]:
    """What is not synced yet. A follower is ready when it could take over at once."""
    problems = _unsynced(process)
    # Only until the first try has ended: without it requests pass unchecked, and the operator works all the same.
    if process.webhook is not None and process.webhook.registered is None:
        problems.append("the webhook's certificate is not registered with the API server yet")
    if process.leader.leading and process.queue.longest_wait() > _LONG_WAIT_S:
        problems.append(f"{len(process.queue)} keys wait, the first for {process.queue.longest_wait():.0f} s")
    return problems


def _unsynced(process: Process) -> list[str]:
    """What is not listed yet. A namespace that cannot be listed does not count where another one is served."""
    missing = {scope: _missing(process, scope) for scope in process.scopes.all}
    served = any(not lists for lists in missing.values())
    return [
        problem
        for scope, problems in missing.items()
        for problem in problems
        if not (served and _error(process, scope) is not None)
    ]


def _missing(process: Process, scope: Scope) -> list[str]:
    """Lists of a namespace that have not been read yet."""
    unsynced = [reflector for reflector in scope.reflectors if not reflector.synced.is_set()]
    missing = [f"watch {reflector.name} is not synced{_why(reflector.error)}" for reflector in unsynced]
    if scope.namespace not in process.audit.listed:
        why = _why(process.audit.errors.get(scope.namespace))
        missing.append(f"the LLMDeployments in namespace {scope.name} are not listed yet{why}")
    return missing


def _error(process: Process, scope: Scope) -> KubeError | None:
    return scope.error or process.audit.errors.get(scope.namespace)


def _why(error: KubeError | None) -> str:
    return f": {error}" if error is not None else ""


def gauges(process: Process) -> Iterable[Metric]:
    """The state of the process at this moment."""
    queue, webhook = process.queue, process.webhook
    yield gauge("queue_depth", "Keys that wait for a worker", len(queue))
    yield gauge("queue_working", "Seconds since the oldest running reconcile began", queue.oldest_work())
    yield gauge("leader", "1 while this process may write", float(process.leader.leading))
    if webhook is not None:
        registered = float(bool(webhook.registered))
        yield gauge("webhook_registered", "1 while the API server knows the webhook's certificate", registered)
        expires = webhook.expires_at.timestamp()
        yield gauge("webhook_certificate_expiry_seconds", "Unix time at which the certificate expires", expires)
    yield gauge("watch_starts", "Number of times that kopf was started in this process", process.watch.starts)
    served = gauge("namespace_served", "1 while everything in the namespace can be listed and watched", 0)
    served.samples.clear()
    for scope in process.scopes.all:
        works = not _missing(process, scope) and _error(process, scope) is None
        served.add_sample(served.name, {"namespace": scope.name}, float(works))
    yield served
    silent = gauge("pods_without_answer", "Ready pods of an LLMDeployment that do not answer with a token", 0)
    silent.samples.clear()
    for key, count in process.cluster.probes.unanswered.items():
        silent.add_sample(silent.name, {"namespace": key.namespace, "name": key.name}, count)
    yield silent
    contested = gauge(
        "contested", "1 for an LLMDeployment that two operators would reconcile; `operator`: the other", 0
    )
    contested.samples.clear()
    for key, other in process.cluster.contested.items():
        labels = {"namespace": key.namespace, "name": key.name, "operator": other}
        contested.add_sample(contested.name, labels, 1)
    yield contested
    desired = gauge("autoscaling_desired_replicas", "Number of pods that spec.autoscaling has decided on", 0)
    state = gauge("autoscaling_state", "1 for the reason of the condition AutoscalingActive of an LLMDeployment", 0)
    desired.samples.clear()
    state.samples.clear()
    for key, (replicas, reason) in process.cluster.scaling.items():
        labels = {"namespace": key.namespace, "name": key.name}
        desired.add_sample(desired.name, labels, replicas)
        state.add_sample(state.name, {**labels, "reason": reason}, 1)
    yield desired
    yield state
    ages = gauge("watch_age_seconds", "Seconds since the API server last answered a watch", 0)
    ages.samples.clear()
    for name, age in _watch_ages(process):
        ages.add_sample(ages.name, {"watch": name}, age)
    yield ages


def _watch_ages(process: Process) -> Iterable[tuple[str, float]]:
    now = asyncio.get_running_loop().time()
    for reflector in process.reflectors:
        yield reflector.name, now - (reflector.health.heard or float("-inf"))
    yield "llmdeployments", time.monotonic() - (process.watch.heard or float("-inf"))
