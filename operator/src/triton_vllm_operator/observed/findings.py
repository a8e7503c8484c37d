"""What keeps an LLMDeployment from being ready: an ordered chain of checks, of which the first finding counts.

A check takes the observation and gives a finding or None. Order is by how early in a pod's life the cause lies and by
how much it explains: a rejected Deployment before its missing pods, a missing Secret before "not ready".
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from contract.report import CAUSE, ENGINE_LINE, HINT
from triton_vllm_operator.api import names
from triton_vllm_operator.api.conditions import find_in
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.observed import gpu_shortage, needs, pod_checks, refusals
from triton_vllm_operator.observed.finding import Finding, one_line, temporary
from triton_vllm_operator.observed.observation import Observation
from triton_vllm_operator.observed.pods import ContainerState, PodState, written_at

__all__ = ["CHECKS", "Check", "Finding", "first_finding", "recheck_s"]

# Reason of a container that waits for its image -> what to do; {} is the place of the image.
_IMAGE_REASONS = {
    "ErrImagePull": "Check {}, spec.podTemplate.imagePullSecrets and the registry.",
    "ImagePullBackOff": "Check {}, spec.podTemplate.imagePullSecrets and the registry.",
    "ErrImageNeverPull": "Load the image onto the node, or set the chart's serving.imagePullPolicy. Check {}.",
    "ImageInspectError": "Check the container runtime and the disk of the node. Check {}.",
    "InvalidImageName": "Correct {}: it is not the name of an image.",
    "RegistryUnavailable": "Check whether the node reaches the registry of {}.",
    "SignatureValidationFailed": "Sign the image, or change {} or the node's policy of signatures.",
}
_CONFIG_REASONS = {
    "CreateContainerConfigError",
    "CreateContainerError",
    "PreCreateHookError",
    "PreStartHookError",
    "PostStartHookError",
    "RunContainerError",
}
# How a run ends that never began.
_NOT_RUN = {"ContainerCannotRun", "StartError"}
_ROLLOUT_S = 600.0
_TOKEN_S = 600.0
"""Seconds from a pod's readiness to its first token: the first request may compile kernels."""
# Word of the kubelet -> kind, reason without the object, reason without a key of it.
_REFERENCES = {
    "secret": ("Secret", Reason.SECRET_NOT_FOUND, Reason.SECRET_KEY_NOT_FOUND),
    "configmap": ("ConfigMap", Reason.CONFIG_MAP_NOT_FOUND, Reason.CONFIG_MAP_KEY_NOT_FOUND),
}


Check = Callable[[Observation], Finding | None]


def first_finding(seen: Observation) -> Finding | None:
    """The finding that matters most, or None when all replicas serve."""
    return next((found for check in CHECKS if (found := check(seen))), None)


def scaled_to_zero(seen: Observation) -> Finding | None:
    """`spec.replicas` is 0, so no pod serves."""
    if seen.desired_replicas > 0:
        return None
    if seen.live_pods:
        advice = f"{_deployment_words(seen)} {_check_deployment(seen)}"
        message = "The pods are stopping: spec.replicas is 0."
        return temporary(seen, Reason.SCALING_DOWN, message, advice, _last_change(seen), _ROLLOUT_S)
    if stuck := pod_checks.deletion_stuck(seen):
        return stuck
    name = seen.llm.name
    return Finding(
        Reason.SCALED_TO_ZERO,
        f"Nothing serves: spec.replicas is 0. kubectl scale llm/{name} -n {seen.llm.namespace} --replicas=1",
    )


def deployment_missing(seen: Observation) -> Finding | None:
    """The Deployment was not created yet."""
    if seen.deployment is None:
        return Finding(Reason.CREATING, "The objects of this LLMDeployment are being created.")
    return None


def deployment_being_deleted(seen: Observation) -> Finding | None:
    """The Deployment was deleted by others, and is kept until its pods or its finalizers are gone."""
    meta = (seen.deployment or {}).get("metadata", {})
    if not (deleted := meta.get("deletionTimestamp")):
        return None
    holders = ", ".join(meta.get("finalizers", []))
    message = f"Deployment {seen.llm.name} is being deleted"
    message += f" and waits for its finalizers: {holders}." if holders else "."
    message += " It is created again when it is gone."
    advice = f"Check the controllers that remove its finalizers. {_check_deployment(seen)}"
    return temporary(seen, Reason.DEPLOYMENT_BEING_DELETED, message, advice, deleted, _ROLLOUT_S)


def pods_refused(seen: Observation) -> Finding | None:
    """The API server rejects the pods: a quota, a policy, a missing ServiceAccount."""
    failure = find_in(seen.deployment, "ReplicaFailure")
    if failure is None or failure["status"] != "True":
        return None
    message = str(failure.get("message", ""))
    what = f"Kubernetes refuses to create the pods: {one_line(message)}"
    return Finding(Reason.PODS_REFUSED, f"{what} {refusals.advice(message)}")


def rollout_stopped(seen: Observation) -> Finding | None:
    """The rollout does not go on until the user acts: it is held, paused or has failed."""
    return Finding(seen.stopped.reason, seen.stopped.message) if seen.stopped is not None else None


def paused(seen: Observation) -> Finding | None:
    """Others have paused the Deployment, so its pods are not replaced."""
    deployment = seen.deployment or {}
    if names.PAUSED_BECAUSE_ANNOTATION in deployment.get("metadata", {}).get("annotations", {}):
        return None
    current = len(seen.current_pods)
    complete = current == len(seen.live_pods) and current >= seen.desired_replicas
    if seen.deployment_settled or complete or not deployment.get("spec", {}).get("paused"):
        return None
    name, namespace = seen.llm.name, seen.llm.namespace
    message = f"Deployment {name} is paused, so it has no pods of the newest configuration."
    return Finding(Reason.DEPLOYMENT_PAUSED, f"{message} kubectl rollout resume deployment/{name} -n {namespace}")


def claim_problem(seen: Observation) -> Finding | None:
    """A pod waits for a PersistentVolumeClaim that is missing or not bound."""
    for pod in seen.judged_pods:
        if found := re.search(r'persistentvolumeclaim "([^"]+)" not found', pod.unschedulable):
            claim, namespace = found.group(1), seen.llm.namespace
            message = f"PersistentVolumeClaim {claim} does not exist in namespace {namespace}. Create it, or change "
            return Finding(Reason.CLAIM_NOT_FOUND, message + "spec.model.uri or spec.podTemplate.volumes.")
        if "unbound immediate PersistentVolumeClaims" in pod.unschedulable:
            message = (
                f"Pod {pod.name} waits for a PersistentVolumeClaim without a volume: {one_line(pod.unschedulable)}"
            )
            return Finding(Reason.CLAIM_NOT_BOUND, f"{message} Check its storage class with kubectl describe pvc.")
        if found := re.search(
            r'persistentvolumeclaim "[^"]+" (is being deleted|bound to non-existent)', pod.unschedulable
        ):
            message = f"Pod {pod.name} waits for a PersistentVolumeClaim: {one_line(pod.unschedulable)}"
            return Finding(Reason.CLAIM_NOT_BOUND, f"{message} Create the claim again when it is gone.")
    return None


def unschedulable(seen: Observation) -> Finding | None:
    """No node takes a pod."""
    pod = next((p for p in seen.judged_pods if p.unschedulable), None)
    if pod is None:
        return None
    if needs.lacks_gpus(seen, pod):
        shortage = "Who holds the GPUs is not known: the nodes may not be listed."
        if seen.gpu_use is not None:
            shortage = gpu_shortage.explain(seen.gpu_use, seen.llm.gpus_per_pod, pod.preempts_below)
        return Finding(Reason.INSUFFICIENT_GPUS, f"{shortage} Scheduler: {one_line(pod.unschedulable)}")
    message = f"No node takes pod {pod.name}: {one_line(pod.unschedulable)}"
    advice = "Change spec.resources or spec.scheduling, or add a node that fits. Why an autoscaler adds none is in the "
    advice += f"events of the pod: kubectl describe pod {pod.name} -n {seen.llm.namespace}."
    if pod.scheduled.reason == "SchedulerError":
        advice = f"Check the log of scheduler {pod.scheduler}."
    elif "volume node affinity conflict" in pod.unschedulable:
        advice = "The volume of a claim is in another zone or on another node: change spec.scheduling or the claim."
    return Finding(Reason.UNSCHEDULABLE, f"{message} {advice}")


def reference_missing(seen: Observation) -> Finding | None:
    """The kubelet cannot create the container: a Secret or ConfigMap, or a key of it, is missing."""
    for pod in seen.judged_pods:
        for one in pod.containers:
            if one.waiting_reason in _CONFIG_REASONS:
                return _missing_reference(seen, pod, one)
    return None


def _missing_reference(seen: Observation, pod: PodState, container: ContainerState) -> Finding:
    text, namespace = container.waiting_message or container.waiting_reason, seen.llm.namespace
    if found := re.search(r'(secret|configmap) "([^"]+)" not found', text):
        kind, missing, _ = _REFERENCES[found.group(1)]
        message = f"{kind} {found.group(2)} does not exist in namespace {namespace}. Create it; the pod then starts."
        return Finding(missing, message)
    if found := re.search(r"couldn't find key (\S+) in (Secret|ConfigMap) \S*?([^/\s]+)$", text):
        key, kind, name = found.groups()
        message = f"{kind} {name} in namespace {namespace} has no key {key}. Add the key, or name another one."
        return Finding(_REFERENCES[kind.lower()][2], message)
    which = "container" if container.kind == "server" else f"{container.kind} {container.name}"
    message = f"The {which} of pod {pod.name} cannot be created: {one_line(text)}"
    advice = "Correct spec.podTemplate or spec.model." if container.kind == "server" else "Correct what adds it."
    return Finding(Reason.CONTAINER_NOT_CREATED, f"{message} {advice}")


def image_problem(seen: Observation) -> Finding | None:
    """The image of a container cannot be pulled."""
    for pod in seen.judged_pods:
        for one in pod.containers:
            if advice := _IMAGE_REASONS.get(one.waiting_reason):
                which, place = "image", "spec.server.image"
                if one.kind != "server":
                    which, place = f"image of the {one.kind} {one.name}", f"the image of {one.name}, which others add"
                words = one_line(one.waiting_message or one.waiting_reason)
                message = f"The {which} of pod {pod.name} cannot be pulled: {words}"
                return Finding(Reason.IMAGE_PULL_FAILED, f"{message} {advice.format(place)}")
    return None


def mount_problem(seen: Observation) -> Finding | None:
    """The kubelet cannot mount a volume."""
    for pod in seen.judged_pods:
        if text := seen.mount_errors.get(pod.name, ""):
            advice = _mount_advice(text)
            return Finding(Reason.MOUNT_FAILED, f"Pod {pod.name} waits for a volume: {one_line(text)} {advice}")
    return None


def _mount_advice(text: str) -> str:
    if "Multi-Attach" in text or "already used by" in text:
        return "The volume is in use on another node: use a claim with access mode ReadWriteMany or ReadOnlyMany."
    if "registered CSI drivers" in text or ("attachdetach" in text and "timed out" in text):
        return "Check whether the driver of the volume runs on the node."
    if re.search(r"permission denied|access denied|Unauthorized", text, re.IGNORECASE):
        return "Check the permissions of the volume and the credentials of its driver."
    if "not found" in text or "references non-existent" in text:
        return "Create what the volume names, or correct spec.podTemplate.volumes."
    return "Check the storage and what spec.podTemplate.volumes names with kubectl describe pod."


def server_failed(seen: Observation) -> Finding | None:
    """The server exited and does not serve since."""
    for pod in seen.judged_pods:
        server = pod.server
        if pod.ready or server.started or not (server.failure_reason or server.waiting_reason == "CrashLoopBackOff"):
            continue
        again = f"It has been restarted {server.restarts} times." if server.restarts > 1 else "It is being restarted."
        if server.failure_reason == "OOMKilled":
            message = (
                f"The server of pod {pod.name} used more memory than its limit. Raise spec.resources.memory. {again}"
            )
            return Finding(Reason.OUT_OF_MEMORY, message)
        error = one_line(_termination_message(server.failure_message))
        if server.failure_reason in _NOT_RUN:
            message = f"The container of pod {pod.name} cannot run: {error or server.failure_reason} {again}"
            return Finding(Reason.CONTAINER_NOT_CREATED, f"{message} Correct spec.server.image or spec.podTemplate.")
        error = error or f"{server.failure_reason or 'no message'}; see {pod_checks.logs(seen, pod, '--previous ')}."
        which = f"pod {pod.name}, model {seen.llm.spec.model.uri},"
        when = "after it had served" if pod.had_served else "before it served"
        return Finding(Reason.SERVER_FAILED, f"The server of {which} ended {when}: {error} {again}")
    return None


def not_settled(seen: Observation) -> Finding | None:
    """Pods are starting, or are being replaced by pods of the newest configuration."""
    if seen.deployment_settled:
        return None
    wanted, old = seen.desired_replicas, len(seen.live_pods) - len(seen.current_pods)
    begins = pod_checks.starting(seen)
    if begins is not None and (begins.stalled or not old):
        return begins
    # While a pod starts, its own time counts.
    since, limit = ("", _ROLLOUT_S) if begins is not None else _waits_since(seen)
    advice = f"{_deployment_words(seen)} {_check_deployment(seen)}"
    if old:
        message = f"{old} of the pods still run the previous configuration; they go when their successors are ready."
        return temporary(seen, Reason.ROLLING_OUT, message, advice, since, limit)
    pods = "1 pod is" if wanted == 1 else f"{wanted} pods are"
    message = f"Waiting until {pods} ready and reached by the Service."
    return temporary(seen, Reason.SCALING, message, advice, since, limit)


def _waits_since(seen: Observation) -> tuple[str, float]:
    """Return the RFC 3339 time since which the controllers of Kubernetes owe a step, and the seconds they may take."""
    unplaced = [pod.created for pod in seen.live_pods if not pod.ready and not pod.node]
    if unplaced:
        return max(unplaced), pod_checks.SCHEDULER_S
    failed = _progress_failure(seen) if seen.deployment_observed else None
    return _last_change(seen), _ROLLOUT_S if failed is None else 60.0


def _last_change(seen: Observation) -> str:
    """Return the RFC 3339 time of the last change of the Deployment, its status or a pod; "" where none is known."""
    deployment = seen.deployment or {}
    meta = deployment.get("metadata", {})
    conditions = deployment.get("status", {}).get("conditions", [])
    times: list[str] = [meta.get("creationTimestamp", ""), written_at(meta.get("managedFields", []))]
    times += [one.get("lastUpdateTime") or one.get("lastTransitionTime") or "" for one in conditions]
    return max([*times, *(one for pod in seen.pods for one in (pod.changed, pod.deleted))])


def _check_deployment(seen: Observation) -> str:
    return f"Check it with kubectl describe deployment {seen.llm.name} -n {seen.llm.namespace}."


def _progress_failure(seen: Observation) -> Mapping[str, Any] | None:
    """Return the condition by which the Deployment says that its rollout does not go on, or None."""
    progressing = find_in(seen.deployment, "Progressing")
    return progressing if progressing is not None and progressing.get("status") == "False" else None


def _deployment_words(seen: Observation) -> str:
    failed = _progress_failure(seen) or {}
    words = f"{failed.get('reason', '')}: {failed.get('message', '')}" if failed else "its controller does not act."
    return f"Deployment: {one_line(words)}"


def no_token(seen: Observation) -> Finding | None:
    """A pod is ready but has not answered with a token."""
    for pod in seen.current_pods:
        answer = seen.answers.get(pod.run)
        if pod.ready and answer != "":
            error = f": {one_line(answer)}" if answer else ""
            message = f"Pod {pod.name} is ready but has not answered a request with a token yet{error or '.'}"
            advice = f"Check it with {pod_checks.logs(seen, pod)}."
            return temporary(seen, Reason.NO_TOKEN, message, advice, pod.became_ready.since or pod.changed, _TOKEN_S)
    return None


def pods_missing(seen: Observation) -> Finding | None:
    """The Deployment counts pods as available that are not there."""
    proven, wanted = len(seen.proven_pods), seen.desired_replicas
    if proven >= wanted:
        return None
    message = (
        f"{proven} of {wanted} pods have answered with a token; Deployment {seen.llm.name} counts all as available."
    )
    return temporary(seen, Reason.SCALING, message, _check_deployment(seen), _last_change(seen), _ROLLOUT_S)


def recheck_s(observation: Observation, finding: Finding | None) -> float | None:
    """Return the seconds until the next reconcile where no watch event reports a change; None: the resync is enough."""
    if finding is None:
        return None
    if needs.pods_in_creation(observation):
        return 4.0  # a volume that cannot be mounted is reported by an event of the pod, which is not watched
    return 30.0 if finding.reason in (Reason.INSUFFICIENT_GPUS, Reason.ROLLOUT_HELD) else finding.due_s


CHECKS: Sequence[Check] = (
    scaled_to_zero,
    deployment_missing,
    deployment_being_deleted,
    pods_refused,
    rollout_stopped,
    paused,
    pod_checks.node_lost,
    pod_checks.deletion_stuck,
    pod_checks.pods_keep_failing,
    claim_problem,
    pod_checks.scheduling_gated,
    unschedulable,
    pod_checks.scheduler_missing,
    reference_missing,
    image_problem,
    mount_problem,
    pod_checks.creation_problem,
    pod_checks.other_container_failed,
    server_failed,
    pod_checks.container_waits,
    pod_checks.pod_disrupted,
    pod_checks.sidecar_not_started,
    pod_checks.pod_not_ready,
    pod_checks.pod_failed,
    not_settled,
    no_token,
    pods_missing,
)
GENERAL_CHECKS: frozenset[Check] = frozenset(
    {pod_checks.container_waits, pod_checks.pod_not_ready, pod_checks.pod_failed}
)
"""Checks that also match a pod for which an earlier check has the exact cause."""


def _termination_message(message: str) -> str:
    """Return the error in a termination message. The operator's own image writes JSON with the cause and the fix."""
    try:
        report = json.loads(message)
        line = f" ({report[ENGINE_LINE]})" if report.get(ENGINE_LINE) else ""
        return f"{report[CAUSE]}{line}. To do: {report[HINT]}"
    except (ValueError, TypeError, KeyError, AttributeError):
        return message
