"""What keeps a pod from being ready that is neither its own image, its references nor its server's exit.

The states are those that the kubelet, the scheduler and the controllers of Kubernetes write. One that is not listed
here is reported in Kubernetes' own words, and is Stalled after a time: what is not known never counts as progress.
"""

import re
from collections.abc import Iterator

from triton_vllm_operator.api import names
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.observed.finding import Finding, one_line, temporary
from triton_vllm_operator.observed.observation import Observation
from triton_vllm_operator.observed.pods import SCHEDULING_GATED, ContainerState, PodState

WAIT_S = 300.0
"""How long a state that Kubernetes usually leaves by itself counts as progress."""
SCHEDULER_S = 60.0
"""A scheduler that runs writes the condition PodScheduled within seconds."""
START_S = 3600.0
"""The startup probe allows 45 minutes; the image is pulled before that."""
_DELETION_S = 60.0  # after the end of the grace period
_FAILURES_S = 1800.0
_CREATING = {"ContainerCreating", "PodInitializing"}
# Reason of a failed pod -> what to do. The kubelet's reasons of a rejected pod are OutOf and the name of a resource.
_FAILED_ADVICE = (
    (r"NodeAffinity", "The labels of the node no longer match spec.scheduling. Correct the labels or the selector."),
    (r"OutOf\w*|.*/.*", "The node had no room for it after all. Check what else runs on the node."),
    (r"UnexpectedAdmissionError", "Check the device plugin and the kubelet of the node."),
    (r"TopologyAffinityError", "No NUMA node has its CPUs and GPUs together. Change spec.resources or the policy."),
    (r"Terminated|NodeShutdown|Shutdown", "The node was shut down. Check the nodes with kubectl get nodes."),
    (r"NodeLost", "The node does not answer. Check the nodes with kubectl get nodes."),
    (r"Preempting|Preempted", "Pods of a higher priority need the node. Set spec.scheduling.priorityClassName."),
    (r"DeadlineExceeded", "Something sets activeDeadlineSeconds of the pod. Remove it."),
)


def logs(seen: Observation, pod: PodState, options: str = "", container: str = names.SERVER_CONTAINER) -> str:
    """Return the command that prints a container's log.

    It names the container: others may have put theirs first, which is the one that kubectl takes.
    """
    return f"kubectl logs {pod.name} -c {container} {options}-n {seen.llm.namespace}"


def _describe(seen: Observation, pod: PodState) -> str:
    return f"kubectl describe pod {pod.name} -n {seen.llm.namespace}"


# ------------------------------------------------------------------------------------------ nodes and deletion


def node_lost(seen: Observation) -> Finding | None:
    """The node of a pod does not answer, so the pod's state is not known."""
    for pod in seen.judged_pods:
        if not pod.ready and _is_lost(seen, pod):
            message = f"Node {pod.node} of pod {pod.name} does not answer, so its state is not known."
            message = f"{message} {one_line(pod.message)}" if pod.message else message
            advice = (
                f"Check it with kubectl describe node {pod.node}. Kubernetes replaces the pod after its tolerations."
            )
            return Finding(Reason.NODE_LOST, f"{message} {advice}")
    return None


def _is_lost(seen: Observation, pod: PodState) -> bool:
    if pod.phase == "Unknown" or pod.reason in {"NodeLost", "NodeUnreachable"} or pod.became_ready.reason == "NodeLost":
        return True
    # The controller of nodes sets Ready alone; what the kubelet wrote last stays, and says that all containers run.
    if pod.became_ready.status == "Unknown":
        return True
    serves = pod.containers_ready.status == "True" and pod.server.ready
    if serves and pod.became_ready.status == "False" and pod.became_ready.reason != "ReadinessGatesNotReady":
        return True
    silent = bool(pod.node) and not pod.containers
    return silent and seen.longer_than(WAIT_S, pod.changed)


def deletion_stuck(seen: Observation) -> Finding | None:
    """A pod is deleted, but does not end."""
    if seen.deployment_settled and seen.desired_replicas > 0:
        return None
    for pod in seen.pods:
        if pod.deleting and seen.longer_than(_DELETION_S, pod.deleted):
            message = f"Pod {pod.name} on node {pod.node} was deleted and does not end; it can still hold its GPUs."
            advice = f"Check the node, and the pod's finalizers, with {_describe(seen, pod)}. Where the node is "
            return Finding(Reason.DELETION_STUCK, f"{message} {advice}gone, delete the pod with --force.")
    return None


# ------------------------------------------------------------------------------------------ pods that have ended


def pods_keep_failing(seen: Observation) -> Finding | None:
    """Pods of the newest configuration fail as a whole, one after the other."""
    failed = _failed(seen)
    return _pod_failed(seen, failed) if len(failed) > 1 else None


def pod_failed(seen: Observation) -> Finding | None:
    """A pod of the newest configuration has failed as a whole; its successor is not ready yet."""
    failed = _failed(seen)
    return _pod_failed(seen, failed) if len(failed) == 1 else None


def _failed(seen: Observation) -> list[PodState]:
    """Return the failed pods of the newest template that say something about now.

    Kubernetes keeps failed pods for long. They count when they failed lately, or when no pod has followed them.
    """
    if seen.deployment_settled:
        return []
    ours = [pod for pod in [*seen.live_pods, *seen.pods_over] if pod.config_hash == seen.config_hash]
    newest = max(ours, key=lambda pod: pod.created, default=None)
    if newest is None:
        return []
    last = not seen.live_pods and seen.deployment_observed
    return [
        pod
        for pod in seen.pods_over
        if (pod.config_hash, pod.template) == (newest.config_hash, newest.template)
        and not pod.deleting
        and (last or not seen.longer_than(_FAILURES_S, pod.changed))
    ]


def _pod_failed(seen: Observation, failed: list[PodState]) -> Finding:
    last, count = failed[0], len(failed)
    evicted = last.reason == "Evicted"
    cause = last.reason or last.disrupted.reason or last.server.failure_reason or last.phase
    words = one_line(last.message or last.disrupted.message or last.server.failure_message)
    message = f"Pod {last.name} has failed: {cause}{f': {words}' if words else '.'}"
    advice = _evicted_advice(words) if evicted else _failed_advice(cause)
    reason = Reason.POD_EVICTED if evicted else Reason.POD_FAILED
    if count > 1:
        return Finding(reason, f"{message} So have others before it. {advice}", True)
    return temporary(seen, reason, f"{message} {advice}", "", last.changed, WAIT_S)


def _evicted_advice(words: str) -> str:
    if re.search(r"ephemeral|emptydir|disk", words, re.IGNORECASE):
        return "Raise spec.resources.ephemeralStorage, or free disk space on the node."
    if re.search(r"memory", words, re.IGNORECASE):
        return "Raise spec.resources.memory, or free memory on the node."
    return "Check the node with kubectl describe node."


def _failed_advice(cause: str) -> str:
    found = (advice for pattern, advice in _FAILED_ADVICE if re.fullmatch(pattern, cause))
    return next(found, "Check the pod with kubectl describe pod.")


# ------------------------------------------------------------------------------------------ scheduling


def scheduling_gated(seen: Observation) -> Finding | None:
    """Another controller keeps the scheduler from placing a pod."""
    for pod in seen.judged_pods:
        if pod.node or not (pod.gates or pod.scheduled.reason == SCHEDULING_GATED):
            continue
        gates = ", ".join(pod.gates) or "not named"
        message = (
            f"Pod {pod.name} is not scheduled because of its scheduling gates: {gates}. The controller that set them"
        )
        message = f"{message} removes them, for example when a queue admits the pod."
        advice = "Check that controller and its queue."
        return temporary(seen, Reason.SCHEDULING_GATED, message, advice, pod.changed, 2 * WAIT_S)
    return None


def scheduler_missing(seen: Observation) -> Finding | None:
    """No scheduler takes care of a pod."""
    for pod in seen.judged_pods:
        if _unseen_by_scheduler(pod) and seen.longer_than(SCHEDULER_S, pod.created):
            message = f"Scheduler {pod.scheduler} has not handled pod {pod.name} for more than a minute."
            advice = "Check whether it runs, or change spec.scheduling.schedulerName."
            return Finding(Reason.SCHEDULER_MISSING, f"{message} {advice}")
    return None


def _unseen_by_scheduler(pod: PodState) -> bool:
    return not pod.node and not pod.scheduled.status


# ------------------------------------------------------------------------------------------ containers


def creation_problem(seen: Observation) -> Finding | None:
    """The kubelet fails to create a pod's sandbox or its devices, as an event says."""
    for pod in seen.judged_pods:
        words = seen.creation_errors.get(pod.name, "")
        if words and seen.longer_than(SCHEDULER_S, pod.changed):
            message = f"The kubelet of node {pod.node} cannot create pod {pod.name}: {one_line(words)}"
            advice = "Check the network plugin, the drivers and the container runtime of the node."
            return Finding(Reason.CONTAINER_NOT_CREATED, f"{message} {advice}")
    return None


def other_container_failed(seen: Observation) -> Finding | None:
    """An init container or a sidecar has failed."""
    for pod in seen.judged_pods:
        for one in pod.others if not pod.ready else []:
            if one.ready or not (one.failure_reason or one.waiting_reason == "CrashLoopBackOff"):
                continue
            words = one_line(one.failure_message)
            message = (
                f"The {one.kind} {one.name} of pod {pod.name} has ended: {one.failure_reason or one.waiting_reason}"
            )
            advice = f"Read {logs(seen, pod, '--previous ', one.name)}, and correct what adds it to the pod."
            return Finding(Reason.CONTAINER_FAILED, f"{message}{f': {words}' if words else '.'} {advice}")
    return None


def container_waits(seen: Observation) -> Finding | None:
    """A container waits for a reason that this version of the operator does not know."""
    for pod in seen.judged_pods:
        for one in pod.containers if not pod.ready else []:
            if not one.waiting_reason or one.waiting_reason in _CREATING:
                continue
            words = one_line(one.waiting_message)
            which = "server" if one.kind == "server" else f"{one.kind} {one.name}"
            message = f"The {which} of pod {pod.name} waits: {one.waiting_reason}"
            message = f"{message}{f': {words}' if words else '.'}"
            advice = f"Check it with {_describe(seen, pod)}."
            return temporary(seen, Reason.CONTAINER_WAITING, message, advice, pod.changed, WAIT_S)
    return None


# ------------------------------------------------------------------------------------------ readiness


def pod_disrupted(seen: Observation) -> Finding | None:
    """Kubernetes is about to end a pod that it has not deleted yet, or says of it what is not known here."""
    for pod in seen.judged_pods:
        if pod.ready:
            continue
        if pod.disrupted.status == "True":
            words = one_line(f"{pod.disrupted.reason}: {pod.disrupted.message}")
            message = f"Kubernetes ends pod {pod.name}: {words}"
            advice = f"Check it with {_describe(seen, pod)}."
            return temporary(seen, Reason.POD_DISRUPTED, message, advice, pod.disrupted.since, WAIT_S)
        if pod.reason:
            message = f"Pod {pod.name} is not ready: {one_line(f'{pod.reason}: {pod.message}')}"
            advice = f"Check it with {_describe(seen, pod)}."
            return temporary(seen, Reason.POD_NOT_READY, message, advice, pod.changed, WAIT_S)
    return None


def pod_not_ready(seen: Observation) -> Finding | None:
    """A server that had started, a sidecar or a readiness gate keeps a pod from being ready."""
    for pod in seen.judged_pods:
        if not pod.ready and (what := next(_unready(pod), "")):
            message = f"Pod {pod.name} is not ready: {what}"
            if pod.became_ready.message:
                message = f"{message} {one_line(pod.became_ready.message)}"
            advice = f"Check it with {_describe(seen, pod)}, and the log of the container."
            return temporary(seen, Reason.POD_NOT_READY, message, advice, pod.changed, WAIT_S)
    return None


def _unready(pod: PodState) -> Iterator[str]:
    server = pod.server
    if server.ready:
        for one in pod.containers:
            if not one.ready:
                yield f"its server is ready, its {one.kind} {one.name} is not."
        yield "its server is ready, but a readiness gate or its node is not."
    if server.started and not _first_check_pending(pod, server):
        yield "its server had started and does not pass its readiness probe now."


def _first_check_pending(pod: PodState, server: ContainerState) -> bool:
    """Whether the pod was not ready in this run of its server before: the first readiness check follows the start."""
    return bool(pod.became_ready.since and server.running_since) and pod.became_ready.since <= server.running_since


def sidecar_not_started(seen: Observation) -> Finding | None:
    """A sidecar that starts before the server runs and does not pass its startup probe: the server waits for it."""
    for pod in seen.judged_pods:
        if pod.ready or pod.server.waiting_reason != "PodInitializing":
            continue
        for one in pod.others:
            if one.kind == "sidecar" and one.running and not one.started:
                message = f"The server of pod {pod.name} waits for the sidecar {one.name}, which has not started yet."
                advice = f"Read {logs(seen, pod, container=one.name)}."
                return temporary(seen, Reason.POD_NOT_READY, message, advice, one.running_since, WAIT_S)
    return None


def starting(seen: Observation) -> Finding | None:
    """A pod pulls its images, or its server loads the model: what takes long and goes on by itself."""
    pod = next((pod for pod in seen.current_pods if not pod.ready and pod.node), None)
    if pod is None:
        return None
    running = next((one for one in pod.others if one.kind == "init container" and one.running), None)
    if running is not None:
        log = logs(seen, pod, "-f ", running.name)
        message = f"The init container {running.name} of pod {pod.name} runs. {log} shows how far it is."
    else:
        message = f"Pod {pod.name} pulls its image, loads the model or starts the engine."
        message = f"{message} {logs(seen, pod, '-f ')} shows how far it is."
    advice = f"Check it with {_describe(seen, pod)}."
    return temporary(seen, Reason.STARTING, message, advice, pod.changed, START_S)
