"""The state of a rollout, counted from the Deployment, its ReplicaSets and its pods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from triton_vllm_operator.api import names
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.desired.revisions import Revision
from triton_vllm_operator.observed.needs import found_no_gpu
from triton_vllm_operator.observed.pods import PodState, seconds_between
from triton_vllm_operator.plan.rollout import RolloutState

Object = Mapping[str, Any]

_TRIED_AGAIN_S = 60.0
"""Within this time the scheduler has tried a pod again after GPUs became free."""


@dataclass(frozen=True, slots=True)
class Pods:
    """The pods of a Deployment by revision.

    Attributes:
        templates: pod-template-hash labels of the deployed revision's ReplicaSets; None where there are no ReplicaSets.
        missing: pods that its ReplicaSets have yet to create.
        size: pods that all ReplicaSets are set to; None where there are none.
        marks: of the revisions that have pods, by their ReplicaSets.
    """

    old: Sequence[PodState]
    new: Sequence[PodState]
    ending: int
    templates: frozenset[str] | None = None
    missing: int = 0
    size: int | None = None
    marks: frozenset[str] = frozenset()


def pods_by_revision(states: Sequence[PodState], replica_sets: Sequence[Object], deployed: Revision) -> Pods:
    """Return the pods of one revision and those of others.

    The Deployment's controller copies the Deployment's annotation with the revision to the ReplicaSet that it creates.
    """
    live = [pod for pod in states if not pod.deleting]
    ending = sum(1 for pod in states if pod.deleting and pod.node)
    if not replica_sets:
        new = [pod for pod in live if pod.config_hash == deployed.config_hash]
        return Pods([pod for pod in live if pod not in new], new, ending)
    own = [one for one in replica_sets if _mark(one) == deployed.mark]
    templates = frozenset(_template(one) for one in own)
    new = [pod for pod in live if pod.template in templates]
    size = sum(_size(one) for one in replica_sets)
    missing = max(sum(_size(one) for one in own) - len(new), 0)
    marks = frozenset(_mark(one) for one in replica_sets if _size(one))
    return Pods([pod for pod in live if pod.template not in templates], new, ending, templates, missing, size, marks)


def rollout_state(
    llm: LLMDeployment, deployment: Object | None, pods: Pods, now: str, room: int | None, **more: bool
) -> RolloutState:
    """The state of a rollout.

    Args:
        llm: with `replicas` and `spec.rollout` as they are now.
        now: RFC 3339 time.
        room: pods for which GPUs are free; None where it is not known.
        more: `proceed`, `failed` and `undoing` of the state.
    """
    unplaced = [pod for pod in pods.new if not pod.node]
    short = [pod for pod in unplaced if found_no_gpu(pod, llm.spec.resources.gpu.resource_name)]
    strategy = (deployment or {}).get("spec", {}).get("strategy", {}).get("rollingUpdate", {})
    given = llm.spec.rollout
    return RolloutState(
        replicas=llm.replicas,
        old=len(pods.old),
        old_ready=sum(1 for pod in pods.old if pod.ready),
        new=len(pods.new),
        new_ready=sum(1 for pod in pods.new if pod.ready),
        unplaced=len(unplaced) + pods.missing,
        short=len(short),
        crowded=any("Insufficient " in pod.unschedulable for pod in unplaced),
        waited=any(seconds_between(pod.scheduled.since, now) > _TRIED_AGAIN_S for pod in short),
        ending=pods.ending,
        room=room,
        surging=strategy.get("maxSurge", 1) != 0 or _paused_while_surging(llm, deployment),
        strategy=given.strategy,
        max_unavailable=given.max_unavailable,
        paused=given.paused,
        size=pods.size,
        **more,
    )


def _paused_while_surging(llm: LLMDeployment, deployment: Object | None) -> bool:
    """Whether the Deployment is paused with more pods than the spec has."""
    spec = (deployment or {}).get("spec", {})
    return bool(spec.get("paused")) and int(spec.get("replicas", 1)) > llm.replicas


def _mark(replica_set: Object) -> str:
    found: str = (replica_set["metadata"].get("annotations") or {}).get(names.REVISION_ANNOTATION, "")
    return found


def _template(replica_set: Object) -> str:
    return str((replica_set["metadata"].get("labels") or {}).get(names.POD_TEMPLATE_HASH_LABEL, ""))


def _size(replica_set: Object) -> int:
    return int((replica_set.get("spec") or {}).get("replicas", 0))
