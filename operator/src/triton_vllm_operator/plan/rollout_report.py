"""What the status says of a rollout: `status.rollout`, the condition UpToDate, and why it does not go on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, cast

from triton_vllm_operator.api.conditions import Condition, ConditionType, find_in
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.api.status import RolloutStatus
from triton_vllm_operator.desired.deployment import progress_deadline_seconds
from triton_vllm_operator.desired.revisions import Revision
from triton_vllm_operator.observed.observation import Stopped
from triton_vllm_operator.observed.pods import PodState, seconds_between
from triton_vllm_operator.plan.rollout import RolloutState, Step, StepKind

StepName = Literal["Complete", "Surging", "Replacing", "Finishing", "Held", "Paused", "Failed", "Undoing", "Undone"]

_REASONS = {
    StepKind.FINISHING: Reason.ROLLOUT_FINISHING,
    StepKind.SURGING: Reason.ROLLOUT_SURGING,
    StepKind.REPLACING: Reason.ROLLOUT_REPLACING,
    StepKind.HELD: Reason.ROLLOUT_HELD,
    StepKind.PAUSED: Reason.ROLLOUT_PAUSED,
    StepKind.FAILED: Reason.ROLLOUT_FAILED,
}


@dataclass(frozen=True, slots=True)
class Rollout:
    """A rollout as it is decided in one reconcile.

    Attributes:
        llm: the LLMDeployment, with the spec that is deployed.
        target: the revision that the spec comes to.
        deployed: the revision that the Deployment is to run; another one than `target` after an undo.
        before: the revision that served before; None where it is not known.
        state, step: None where there is nothing to replace.
        not_restored: why the previous revision cannot be restored; "" where it can, or need not.
    """

    llm: LLMDeployment
    target: Revision
    deployed: Revision
    before: Revision | None = None
    state: RolloutState | None = None
    step: Step | None = None
    not_restored: str = ""

    @property
    def undone(self) -> bool:
        """Whether the revision of the spec has failed and another one is deployed."""
        return self.deployed.name != self.target.name

    @property
    def settled(self) -> bool:
        """Whether nothing is left to replace."""
        return self.step is None or self.step.kind is StepKind.FINISHING

    @property
    def complete(self) -> bool:
        """Whether all pods run the revision of the spec, and all of them have served."""
        return self.step is None and not self.undone and self.target.served

    def stopped(self) -> Stopped | None:
        """Why the rollout does not go on until the user acts, or None."""
        name, namespace = self.llm.name, self.llm.namespace
        number, failure = self.target.number, self.target.failure
        command = f"kubectl llm rollout proceed {name} -n {namespace}"
        if self.undone and failure is not None:
            restored = "is restored" if self.settled else "is being restored"
            return Stopped(
                Reason.ROLLOUT_UNDONE,
                f"Revision {number} failed: {failure.why} Revision {self.deployed.number} {restored}. Correct the "
                f"spec; or, when the cause is gone, try revision {number} again: {command}",
            )
        if failure is not None:
            why = self.not_restored or "spec.rollout.onFailure is Hold, so no further pod is replaced."
            back = "" if self.not_restored else f" or go back: kubectl llm rollout undo {name} -n {namespace};"
            return Stopped(
                Reason.ROLLOUT_FAILED,
                f"Revision {number} failed: {failure.why} {why} Correct the spec;{back} or try it again: {command}",
            )
        if self.step is None or self.step.kind not in (StepKind.HELD, StepKind.PAUSED):
            return None
        if self.step.kind is StepKind.PAUSED:
            message = f"Revision {number} is not rolled out: {self.step.why} kubectl llm rollout resume {name} -n "
            return Stopped(Reason.ROLLOUT_PAUSED, f"{message}{namespace}")
        return Stopped(Reason.ROLLOUT_HELD, f"Revision {number} waits: {self.step.why} {self._ways_on(command)}")

    def _ways_on(self, command: str) -> str:
        gap = self.gap_seconds(1)
        length = "of unknown length" if gap is None else f"of about {gap} s"
        return (
            "The old pods go on serving. It goes on by itself when a GPU is free. To replace them with a gap "
            f"{length}: {command}, or set spec.rollout.strategy to Replace"
            f"{' or maxUnavailable to 1' if self.llm.replicas > 1 else ''}."
        )

    def start_s(self) -> int | None:
        """Measured seconds from a pod's creation to its readiness, of the revision that served last."""
        known = (self.before, self.target, self.deployed)
        return next((one.start_s for one in known if one is not None and one.start_s is not None), None)

    def gap_seconds(self, at_a_time: int) -> int | None:
        """Seconds with fewer ready pods to expect when so many pods are replaced at the same time."""
        start_s = self.start_s()
        if start_s is None or self.state is None:
            return None
        stop_s = self.llm.spec.server.drain_seconds
        return math.ceil(self.state.old / max(at_a_time, 1)) * (start_s + stop_s)

    def condition(self) -> Condition:
        """The condition UpToDate."""
        if stopped := self.stopped():
            return Condition(ConditionType.UP_TO_DATE, "False", stopped.reason, stopped.message)
        number = self.target.number
        first = self.before is None
        if self.step is None or (self.step.kind is StepKind.FINISHING and (self.target.served or first)):
            return Condition(
                ConditionType.UP_TO_DATE, "True", Reason.REVISION_DEPLOYED, f"All pods run revision {number}."
            )
        reason = _REASONS[self.step.kind]
        return Condition(ConditionType.UP_TO_DATE, "False", reason, f"Revision {number} is rolled out. {self.step.why}")

    def status(self, deployment: Mapping[str, Any] | None) -> RolloutStatus:
        """`status.rollout`. `deployment`: as it is now."""
        found: dict[str, Any] = {
            "revision": self.target.number,
            "deployed_revision": self.deployed.number,
            "step": self._step_name(),
            "changes": self.target.changes or None,
        }
        if self.state is not None and self.step is not None and not self.complete:
            found |= self._figures(self.state, self.step, deployment)
        return RolloutStatus(**{key: value for key, value in found.items() if value is not None})

    def _figures(self, state: RolloutState, step: Step, deployment: Mapping[str, Any] | None) -> dict[str, Any]:
        start_s, replaces = self.start_s(), step.kind is StepKind.REPLACING
        gap = self.gap_seconds(step.settings.max_unavailable) if replaces else 0
        return {
            "from_revision": self.before.number if self.before is not None else None,
            "reason": step.why,
            "pods_to_replace": state.old,
            "updated_pods": state.new,
            "ready_pods": state.ready,
            "min_ready_pods": step.floor,
            "start_seconds": start_s,
            "expected_gap_seconds": gap,
            "gpu_seconds": None if start_s is None else start_s * state.old * self.llm.gpus_per_pod,
            "deadline": None if step.settings.paused_because else _deadline(self.llm, deployment),
        }

    def _step_name(self) -> StepName:
        if self.undone:
            return "Undone" if self.settled else "Undoing"
        if self.step is None:
            return "Complete"
        if self.step.kind is StepKind.FINISHING and self.target.served:
            return "Complete"
        return cast(StepName, str(self.step.kind))


def _deadline(llm: LLMDeployment, deployment: Mapping[str, Any] | None) -> str | None:
    """The RFC 3339 time at which the Deployment's controller reports no progress; None where it does not roll."""
    progressing = find_in(deployment, "Progressing") or {}
    if progressing.get("reason") not in ("ReplicaSetUpdated", "NewReplicaSetCreated", "FoundNewReplicaSet"):
        return None
    seconds = progress_deadline_seconds(llm)
    at = datetime.fromisoformat(progressing["lastUpdateTime"]) + timedelta(seconds=seconds)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def measured_start(pods: Iterable[PodState]) -> int | None:
    """The median of the seconds from creation to readiness, of pods that are ready in their first run."""
    ready = (pod for pod in pods if pod.ready and not pod.server.restarts)
    seconds = sorted(seconds_between(pod.created, pod.became_ready.since) for pod in ready)
    known = [one for one in seconds if one > 0]
    return round(known[len(known) // 2]) if known else None
