"""The status of an LLMDeployment: its conditions and figures for each way in which a reconcile can end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from triton_vllm_operator.api import names
from triton_vllm_operator.api.conditions import Condition, ConditionType, Outcome, find, merge
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.status import LLMDeploymentStatus
from triton_vllm_operator.observed import claims
from triton_vllm_operator.observed.findings import Finding
from triton_vllm_operator.observed.observation import Observation

_PLANNED = ("model", "plan", "chosen")
"""Fields of the status that the plan writes, and that are absent until it has made one."""


@dataclass(frozen=True, slots=True)
class StatusBuilder:
    """Builds the next status from the previous one.

    Attributes:
        previous: the status as read.
        generation: metadata.generation that the next status is about.
        now: RFC 3339 time.
    """

    previous: Mapping[str, Any]
    generation: int
    now: str

    def observed(
        self,
        observation: Observation,
        finding: Finding | None,
        conditions: Sequence[Condition],
        facts: LLMDeploymentStatus,
    ) -> dict[str, Any]:
        """Return the status after the children were applied and read; nothing of the previous one stays but the claim.

        Args:
            finding: why it is not ready, or None.
            conditions: those that the image, the model, the plan and the engine decide.
            facts: release, image, endpoints, model, plan, chosen and actual, as far as they are known.
        """
        figures = LLMDeploymentStatus(
            observed_generation=self.generation,
            desired_replicas=observation.desired_replicas,
            replicas=len(observation.live_pods),
            ready_replicas=len([pod for pod in observation.live_pods if pod.ready]),
            updated_replicas=len(observation.current_pods),
            selector=",".join(f"{key}={value}" for key, value in names.selector(observation.llm.name).items()),
            model_name=observation.llm.model_name,
            gpus_per_replica=observation.llm.gpus_per_pod,
        )
        computed = self._conditions(Outcome.OBSERVED, [*pod_conditions(observation, finding), *conditions])
        claim = {key: value for key, value in self.previous.items() if key == "operator"}
        return {**_json(figures), **claim, "conditions": computed, **_json(facts)}

    def rejected(self, reason: Reason, message: str) -> dict[str, Any]:
        """Return the status with a rejected spec: what was deployed before continues to serve."""
        finding = Finding(reason, message)
        return self._unchanged(Outcome.REJECTED, [_not_ready(finding), *_progress(finding)])

    def blocked(self, cause: Finding) -> dict[str, Any]:
        """Return the status while an error keeps the operator from going on.

        What served this generation can serve still, so a Ready of this generation stays.
        """
        ready = find(self.previous.get("conditions", []), ConditionType.READY) or {}
        serves = ready.get("status") == "True" and ready.get("observedGeneration") == self.generation
        return self._unchanged(Outcome.BLOCKED, [*([] if serves else [_not_ready(cause)]), *_progress(cause)])

    def held(self, cause: Finding, conditions: Sequence[Condition], facts: LLMDeploymentStatus) -> dict[str, Any]:
        """Return the status while no pods are created; the children stay as they are.

        Args:
            conditions: those that the image, the model and the plan decide.
            facts: model and plan, as far as they are known; nothing is chosen yet.
        """
        status = self._unchanged(Outcome.HELD, [_not_ready(cause), *_progress(cause), *conditions])
        return {**{key: value for key, value in status.items() if key not in _PLANNED}, **_json(facts)}

    def _unchanged(self, outcome: Outcome, conditions: Sequence[Condition]) -> dict[str, Any]:
        changed = {"observedGeneration": self.generation, "conditions": self._conditions(outcome, conditions)}
        return {**self.previous, **changed}

    def _conditions(self, outcome: Outcome, conditions: Sequence[Condition]) -> list[dict[str, Any]]:
        computed = [*conditions, *claims.contested(self.previous)]
        return merge(self.previous.get("conditions", []), computed, outcome, self.generation, self.now)


def _json(status: LLMDeploymentStatus) -> dict[str, Any]:
    """Return the JSON form of the fields that were set, without those that are absent."""
    found: dict[str, Any] = status.model_dump(by_alias=True, exclude_none=True, include=status.model_fields_set)
    return found


def pod_conditions(observation: Observation, finding: Finding | None) -> list[Condition]:
    """Return Ready, Available, Reconciling and Stalled; the last two have the meaning of kstatus.

    With zero replicas there is no Ready: it cannot be True without a token, and False would keep tools that wait for
    the desired state by kstatus (Helm, Flux) waiting forever.
    """
    scaled_to_zero = finding is not None and finding.reason == Reason.SCALED_TO_ZERO
    ready = [] if scaled_to_zero else [_ready(observation, finding)]
    return [*ready, _available(observation), *_progress(finding)]


def _ready(observation: Observation, finding: Finding | None) -> Condition:
    if finding is not None:
        return _not_ready(finding)
    count = len(observation.proven_pods)
    pods = "1 pod has" if count == 1 else f"{count} pods have"
    return Condition(ConditionType.READY, "True", Reason.SERVING, f"{pods} answered with a token.")


def _not_ready(finding: Finding) -> Condition:
    return Condition(ConditionType.READY, "False", finding.reason, finding.message)


def _available(observation: Observation) -> Condition:
    ready, replicas = len([pod for pod in observation.live_pods if pod.ready]), observation.desired_replicas
    message = f"{ready} of {replicas} desired pods are ready"
    if ready and ready >= replicas:
        return Condition(ConditionType.AVAILABLE, "True", Reason.ENOUGH_REPLICAS, f"{message}.")
    if ready:
        message = f"{message}; requests are served with less capacity."
        return Condition(ConditionType.AVAILABLE, "False", Reason.TOO_FEW_REPLICAS, message)
    return Condition(ConditionType.AVAILABLE, "False", Reason.NO_REPLICAS, "No pod is ready, so requests fail.")


def _progress(finding: Finding | None) -> list[Condition]:
    cause = finding or Finding(Reason.SERVING, "Nothing is left to do.")
    # Beside Stalled=False the same words would read as its opposite.
    still = cause.message if finding else "Nothing needs to be done by the user."
    return [
        Condition(ConditionType.RECONCILING, "True" if cause.progressing else "False", cause.reason, cause.message),
        Condition(ConditionType.STALLED, "True" if cause.stalled else "False", cause.reason, still),
    ]
