"""What keeps an LLMDeployment from being ready: an ordered chain of checks, of which the first finding counts.

A check takes the observation and gives a finding or None. Order is by how early in a pod's life the cause lies and by
how much it explains: a rejected Deployment before its missing pods, a missing Secret before "not ready".
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from contract.report import CAUSE, ENGINE_LINE, HINT
from triton_vllm_operator.api.reasons import Kind, Reason
from triton_vllm_operator.observed import gpu_shortage, needs
from triton_vllm_operator.observed.observation import Observation
from triton_vllm_operator.observed.pods import PodState

_IMAGE_REASONS = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
_CONFIG_REASONS = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
# Word of the kubelet -> kind, reason without the object, reason without a key of it.
_REFERENCES = {
    "secret": ("Secret", Reason.SECRET_NOT_FOUND, Reason.SECRET_KEY_NOT_FOUND),
    "configmap": ("ConfigMap", Reason.CONFIG_MAP_NOT_FOUND, Reason.CONFIG_MAP_KEY_NOT_FOUND),
}
_MESSAGE_LIMIT = 2000


@dataclass(frozen=True, slots=True)
class Finding:
    """One cause.

    Attributes:
        message: what is wrong and what to do.
    """

    reason: Reason
    message: str

    @property
    def stalled(self) -> bool:
        """Whether nothing changes until the user acts."""
        return self.reason.kind is Kind.STALLED

    @property
    def progressing(self) -> bool:
        """Whether it is expected to go away by itself."""
        return self.reason.kind is Kind.PROGRESSING


Check = Callable[[Observation], Finding | None]


def first_finding(seen: Observation) -> Finding | None:
    """The finding that matters most, or None when all replicas serve."""
    return next((found for check in CHECKS if (found := check(seen))), None)


def scaled_to_zero(seen: Observation) -> Finding | None:
    """`spec.replicas` is 0, so no pod serves."""
    if seen.desired_replicas > 0:
        return None
    if seen.live_pods:
        return Finding(Reason.SCALING_DOWN, "The pods are stopping: spec.replicas is 0.")
    name = seen.llm.name
    return Finding(Reason.SCALED_TO_ZERO, f"Nothing serves: spec.replicas is 0. kubectl scale llm/{name} --replicas=1")


def deployment_missing(seen: Observation) -> Finding | None:
    """The Deployment was not created yet."""
    if seen.deployment is None:
        return Finding(Reason.CREATING, "The objects of this LLMDeployment are being created.")
    return None


def pods_refused(seen: Observation) -> Finding | None:
    """The API server rejects the pods: a quota, a policy, a missing ServiceAccount."""
    conditions = (seen.deployment or {}).get("status", {}).get("conditions", [])
    failure = next((c for c in conditions if c["type"] == "ReplicaFailure" and c["status"] == "True"), None)
    if failure is None:
        return None
    message = str(failure.get("message", ""))
    advice = "Ask the owner of the namespace for the permission, quota or policy that the message names."
    if found := re.search(r'serviceaccount "([^"]+)" not found', message):
        advice = f"Create ServiceAccount {found.group(1)} or change spec.podTemplate.serviceAccountName."
    return Finding(Reason.PODS_REFUSED, f"Kubernetes refuses to create the pods: {_short(message)} {advice}")


def claim_problem(seen: Observation) -> Finding | None:
    """A pod waits for a PersistentVolumeClaim that is missing or not bound."""
    for pod in seen.judged_pods:
        if found := re.search(r'persistentvolumeclaim "([^"]+)" not found', pod.unschedulable):
            claim, namespace = found.group(1), seen.llm.namespace
            message = f"PersistentVolumeClaim {claim} does not exist in namespace {namespace}. Create it, or change "
            return Finding(Reason.CLAIM_NOT_FOUND, message + "spec.model.uri or spec.podTemplate.volumes.")
        if "unbound immediate PersistentVolumeClaims" in pod.unschedulable:
            message = f"Pod {pod.name} waits for a PersistentVolumeClaim without a volume: {_short(pod.unschedulable)}"
            return Finding(Reason.CLAIM_NOT_BOUND, f"{message} Check its storage class with kubectl describe pvc.")
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
        return Finding(Reason.INSUFFICIENT_GPUS, f"{shortage} Scheduler: {_short(pod.unschedulable)}")
    message = f"No node takes pod {pod.name}: {_short(pod.unschedulable)}"
    advice = "Change spec.resources or spec.scheduling, or add a node that fits."
    return Finding(Reason.UNSCHEDULABLE, f"{message} {advice}")


def reference_missing(seen: Observation) -> Finding | None:
    """The kubelet cannot create the container: a Secret or ConfigMap, or a key of it, is missing."""
    for pod in seen.judged_pods:
        if pod.waiting_reason in _CONFIG_REASONS:
            return _missing_reference(seen, pod)
    return None


def _missing_reference(seen: Observation, pod: PodState) -> Finding:
    text, namespace = pod.waiting_message, seen.llm.namespace
    if found := re.search(r'(secret|configmap) "([^"]+)" not found', text):
        kind, missing, _ = _REFERENCES[found.group(1)]
        message = f"{kind} {found.group(2)} does not exist in namespace {namespace}. Create it; the pod then starts."
        return Finding(missing, message)
    if found := re.search(r"couldn't find key (\S+) in (Secret|ConfigMap) \S*?([^/\s]+)$", text):
        key, kind, name = found.groups()
        message = f"{kind} {name} in namespace {namespace} has no key {key}. Add the key, or name another one."
        return Finding(_REFERENCES[kind.lower()][2], message)
    message = f"The container of pod {pod.name} cannot be made: {_short(text)} Correct spec.podTemplate or spec.model."
    return Finding(Reason.CONTAINER_NOT_CREATED, message)


def image_problem(seen: Observation) -> Finding | None:
    """The image cannot be pulled."""
    for pod in seen.judged_pods:
        if pod.waiting_reason in _IMAGE_REASONS:
            message = f"The image of pod {pod.name} cannot be pulled: {_short(pod.waiting_message)}"
            advice = "Check spec.server.image, spec.podTemplate.imagePullSecrets and the registry."
            return Finding(Reason.IMAGE_PULL_FAILED, f"{message} {advice}")
    return None


def mount_problem(seen: Observation) -> Finding | None:
    """The kubelet cannot mount a volume."""
    for pod in seen.judged_pods:
        if text := seen.mount_errors.get(pod.name, ""):
            advice = "Create what the volume names, or correct spec.podTemplate.volumes."
            return Finding(Reason.MOUNT_FAILED, f"Pod {pod.name} waits for a volume: {_short(text)} {advice}")
    return None


def server_failed(seen: Observation) -> Finding | None:
    """The server exited before it served."""
    for pod in seen.judged_pods:
        if pod.ready or not (pod.failure_reason or pod.waiting_reason == "CrashLoopBackOff"):
            continue
        again = f"It has been restarted {pod.restarts} times." if pod.restarts > 1 else "It is being restarted."
        if pod.failure_reason == "OOMKilled":
            message = (
                f"The server of pod {pod.name} used more memory than its limit. Raise spec.resources.memory. {again}"
            )
            return Finding(Reason.OUT_OF_MEMORY, message)
        error = _short(_termination_message(pod.failure_message))
        error = error or f"no message; see kubectl logs {pod.name} --previous"
        which = f"pod {pod.name}, model {seen.llm.spec.model.uri},"
        return Finding(Reason.SERVER_FAILED, f"The server of {which} ended before it served: {error} {again}")
    return None


def not_settled(seen: Observation) -> Finding | None:
    """Pods are starting, or are being replaced by pods of the newest configuration."""
    if seen.deployment_settled:
        return None
    wanted, old = seen.desired_replicas, len(seen.live_pods) - len(seen.current_pods)
    if old:
        message = f"{old} of the pods still run the previous configuration; they go when their successors are ready."
        return Finding(Reason.ROLLING_OUT, message)
    waiting = next((pod for pod in seen.current_pods if not pod.ready), None)
    if waiting is not None and waiting.node:
        message = f"Pod {waiting.name} pulls its image, loads the model or starts the engine."
        return Finding(Reason.STARTING, f"{message} kubectl logs -f {waiting.name} shows how far it is.")
    pods = "1 pod is" if wanted == 1 else f"{wanted} pods are"
    return Finding(Reason.SCALING, f"Waiting until {pods} ready and reached by the Service.")


def no_token(seen: Observation) -> Finding | None:
    """A pod is ready but has not answered with a token."""
    for pod in seen.current_pods:
        answer = seen.answers.get(pod.run)
        if pod.ready and answer != "":
            said = f": {_short(answer)}" if answer else ""
            message = f"Pod {pod.name} is ready but has not answered a request with a token yet{said}"
            return Finding(Reason.NO_TOKEN, message)
    return None


def recheck_s(observation: Observation, finding: Finding | None) -> float | None:
    """Return the seconds until the next reconcile where no watch event reports a change; None: the resync is enough."""
    if finding is None:
        return None
    if finding.reason == Reason.NO_TOKEN:
        return 2.0
    if needs.pods_in_creation(observation):
        return 4.0  # a volume that cannot be mounted is reported by an event of the pod, which is not watched
    return 30.0 if finding.reason == Reason.INSUFFICIENT_GPUS else None


CHECKS: Sequence[Check] = (
    scaled_to_zero,
    deployment_missing,
    pods_refused,
    claim_problem,
    unschedulable,
    reference_missing,
    image_problem,
    mount_problem,
    server_failed,
    not_settled,
    no_token,
)


def _termination_message(message: str) -> str:
    """Return the error in a termination message. The operator's own image writes JSON with the cause and the fix."""
    try:
        report = json.loads(message)
        line = f" ({report[ENGINE_LINE]})" if report.get(ENGINE_LINE) else ""
        return f"{report[CAUSE]}{line}. To do: {report[HINT]}"
    except (ValueError, TypeError, KeyError, AttributeError):
        return message


def _short(text: str) -> str:
    """One line of a text from elsewhere, at most 2,000 characters, ending with a full stop."""
    line = " ".join(text.split())[-_MESSAGE_LIMIT:].rstrip(". ")
    return f"{line}." if line else ""
