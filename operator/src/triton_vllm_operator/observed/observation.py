"""The facts that the checks use, fetched before they run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.observed.gpu_shortage import GPUUse
from triton_vllm_operator.observed.pods import PodState, seconds_between


@dataclass(frozen=True, slots=True)
class Stopped:
    """Why a rollout does not go on until the user acts."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Observation:
    """The state of an LLMDeployment and its children at one time.

    Attributes:
        deployment: the live Deployment, or None before it exists.
        pods: pods that are not over, of any configuration.
        config_hash: model repository that is wanted now.
        answers: run of a pod -> "" when it has answered with a token, else what came instead of one.
        mount_errors: pod name -> the kubelet's sentence about a volume that it cannot mount.
        gpu_use: who holds the GPUs; gathered only when a pod waits for one.
        pods_over: pods that have ended and do not run again, the newest first.
        creation_errors: pod name -> another warning about a pod whose containers are not created yet.
        now: RFC 3339 time of the observation; "": not known, so that nothing takes too long.
        templates: pod-template-hash labels of the pods of the wanted revision; None where it is not known.
        stopped: why the rollout does not go on, or None.
    """

    llm: LLMDeployment
    deployment: Mapping[str, Any] | None
    pods: Sequence[PodState]
    config_hash: str
    answers: Mapping[str, str] = field(default_factory=dict)
    mount_errors: Mapping[str, str] = field(default_factory=dict)
    gpu_use: GPUUse | None = None
    pods_over: Sequence[PodState] = ()
    creation_errors: Mapping[str, str] = field(default_factory=dict)
    now: str = ""
    templates: frozenset[str] | None = None
    stopped: Stopped | None = None

    @property
    def live_pods(self) -> list[PodState]:
        """Pods that are not being deleted."""
        return [pod for pod in self.pods if not pod.deleting]

    @property
    def current_pods(self) -> list[PodState]:
        """Live pods of the wanted configuration, and of its newest pod template: an image can change alone."""
        if self.templates is not None:
            return [pod for pod in self.live_pods if pod.template in self.templates]
        wanted = [pod for pod in self.live_pods if pod.config_hash == self.config_hash]
        newest = max(wanted, key=lambda pod: pod.created, default=None)
        return [pod for pod in wanted if newest is not None and pod.template == newest.template]

    def longer_than(self, seconds: float, since: str) -> bool:
        """Whether more than this time has passed since an RFC 3339 time."""
        return seconds_between(since, self.now) > seconds

    @property
    def judged_pods(self) -> list[PodState]:
        """Pods whose problems are reported: those of the newest configuration, or all while it has none."""
        return self.current_pods or self.live_pods

    @property
    def proven_pods(self) -> list[PodState]:
        """Ready pods that have answered with a token."""
        return [pod for pod in self.live_pods if pod.ready and self.answers.get(pod.run) == ""]

    @property
    def desired_replicas(self) -> int:
        """The number of pods that should run."""
        return self.llm.replicas

    def deployment_status(self, key: str) -> int:
        """A counter of the Deployment's status; 0 where it is absent."""
        return int((self.deployment or {}).get("status", {}).get(key, 0))

    @property
    def deployment_observed(self) -> bool:
        """Whether the Deployment's controller has seen the newest spec."""
        generation = (self.deployment or {}).get("metadata", {}).get("generation", 0)
        return self.deployment is not None and self.deployment_status("observedGeneration") >= generation

    @property
    def deployment_settled(self) -> bool:
        """The Deployment's controller has seen the newest spec; the Service reaches all wanted pods, which run it."""
        wanted = self.desired_replicas
        return (
            self.deployment_observed
            and self.deployment_status("replicas") == wanted
            and self.deployment_status("updatedReplicas") == wanted
            and self.deployment_status("availableReplicas") == wanted
        )
