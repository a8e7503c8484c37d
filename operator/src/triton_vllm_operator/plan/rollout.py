"""The next step of a rollout: how the Deployment may replace pods, from what the cluster has now.

`next_step` is a pure function and keeps nothing: the same state gives the same step, whichever operator reads it. Each
step is a setting of the Deployment (maxSurge, maxUnavailable, paused), whose controller does the rest. What that comes
to is checked for every reachable state of small clusters: operator/tests/plan/test_rollout_states.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from triton_vllm_operator.desired.rollout_settings import RolloutSettings

Strategy = Literal["Auto", "Surge", "Replace"]


class StepKind(StrEnum):
    """What happens next, as in `status.rollout.step`."""

    FINISHING = "Finishing"
    """No old pod is left."""
    SURGING = "Surging"
    """A new pod starts beside the old ones, and an old one is deleted when it is ready."""
    REPLACING = "Replacing"
    """An old pod is deleted, and a new one takes its GPU."""
    HELD = "Held"
    """No GPU is free, and no pod may be replaced without one."""
    PAUSED = "Paused"
    """The user has paused the rollout."""
    FAILED = "Failed"
    """The new revision has failed, and nothing is undone."""


@dataclass(frozen=True, slots=True)
class RolloutState:
    """A rollout as the cluster has it now. Pods that are being deleted count in `ending` only.

    "New" is the revision that the Deployment is to run: while a rollout is undone, that is the previous one.

    Attributes:
        replicas: desired number of pods.
        old, old_ready: pods of other revisions.
        new, new_ready: pods of the new revision.
        unplaced: new pods that have no node yet, or that their ReplicaSet has yet to create.
        short: of these, those for which the scheduler found no GPU.
        crowded: whether the scheduler found no node with enough of a resource, such as memory, for a new pod.
        waited: whether one of those has waited for so long that the scheduler must have tried again.
        ending: own pods that are being deleted and still hold their GPUs.
        room: pods for which GPUs are free now, those of other pods that are about to be placed taken off; None where
            it is not known.
        surging: whether the Deployment is set to surge now.
        max_unavailable: of the spec; None where it is not set.
        proceed: whether the user accepts the gap of this revision.
        failed: whether the revision of the spec has failed and stays deployed.
        undoing: whether the previous revision is being restored.
        size: pods that the ReplicaSets together are set to; None for `old` + `new`.
    """

    replicas: int
    old: int
    old_ready: int
    new: int = 0
    new_ready: int = 0
    unplaced: int = 0
    short: int = 0
    crowded: bool = False
    waited: bool = False
    ending: int = 0
    room: int | None = None
    surging: bool = True
    strategy: Strategy = "Auto"
    max_unavailable: int | None = None
    paused: bool = False
    proceed: bool = False
    failed: bool = False
    undoing: bool = False
    size: int | None = None

    @property
    def ready(self) -> int:
        """Ready pods of any revision."""
        return self.old_ready + self.new_ready

    @property
    def spare(self) -> bool:
        """Whether a GPU is free for one more pod, as far as it is known."""
        return self.room is None or self.room > self.unplaced

    @property
    def stuck(self) -> bool:
        """Whether new pods wait for a GPU that none of the own pods is about to release."""
        return self.short > 0 and self.ending == 0 and (not self.room or self.waited)


@dataclass(frozen=True, slots=True)
class Step:
    """The next step.

    Attributes:
        settings: of the Deployment.
        floor: ready pods below which the rollout itself does not go.
        why: the reason, as a sentence.
    """

    kind: StepKind
    settings: RolloutSettings
    floor: int
    why: str


def next_step(state: RolloutState) -> Step:
    """Decide the next step of a rollout."""
    if state.failed:
        return _stop(StepKind.FAILED, state, "The new revision has failed.")
    if state.old == 0:
        return Step(StepKind.FINISHING, _mode(state), state.replicas, "No pod of a previous revision is left.")
    if state.paused and not state.undoing:
        return _stop(StepKind.PAUSED, state, "spec.rollout.paused is true.")
    if state.undoing:
        return _undo(state)
    if state.strategy == "Surge":
        return _surge(state, "spec.rollout.strategy is Surge.")
    if state.strategy == "Replace":
        return _replace(state, min(state.max_unavailable or 1, state.replicas), "spec.rollout.strategy is Replace.")
    return _auto(state)


def _mode(state: RolloutState) -> RolloutSettings:
    """The settings as they are: should the revision fail yet, the undo goes back as the rollout went."""
    return RolloutSettings() if state.surging else RolloutSettings(0, max(state.max_unavailable or 1, 1))


def _auto(state: RolloutState) -> Step:
    if state.ready == 0 and state.crowded:
        return _replace(state, 1, "No node has room for a further pod, and no pod is ready that could be lost.")
    started = state.surging and (state.new > 0 or state.unplaced > 0)
    if started and not state.stuck:
        return _surge(state, "Each old pod is deleted when a new one is ready.")
    if not started and state.spare:
        known = "A GPU is free." if state.room is not None else "Which GPUs are free is not known: it is tried."
        return _surge(state, known)
    return _without_gpu(state)


def _without_gpu(state: RolloutState) -> Step:
    """Replace as long as another pod stays ready; else hold."""
    limit = 1 if state.max_unavailable is None else state.max_unavailable
    count = min(limit, state.replicas - 1)
    if state.new == state.unplaced == 0 and state.old > max(state.replicas, state.old_ready):
        return _surge(state, "A pod that is not ready is deleted, and a new one takes its GPU.")
    if count > 0:
        return _replace(state, count, "No GPU is free for a further pod.")
    if state.ready == 0:
        return _replace(state, 1, "No GPU is free for a further pod, and no pod is ready that could be lost.")
    if state.proceed:
        return _replace(state, 1, "No GPU is free for a further pod, and kubectl llm rollout proceed was given.")
    only = "the only ready pod would be deleted" if state.replicas == 1 else "spec.rollout.maxUnavailable is 0"
    return _stop(StepKind.HELD, state, f"No GPU is free for a further pod, and {only}.")


def _undo(state: RolloutState) -> Step:
    """Go back in the way in which the rollout went: then it needs no GPU that the rollout did not hold."""
    if state.surging and not state.stuck:
        return _surge(state, "The previous revision is restored.")
    count = min(state.max_unavailable or 1, state.replicas - 1)
    return _replace(state, count, "The previous revision is restored.")


def _surge(state: RolloutState, why: str) -> Step:
    return Step(StepKind.SURGING, RolloutSettings(), state.replicas, why)


def _replace(state: RolloutState, count: int, why: str) -> Step:
    count = max(count, 1)  # Kubernetes rejects maxSurge and maxUnavailable that are both 0
    return Step(StepKind.REPLACING, RolloutSettings(0, count), max(state.replicas - count, 0), why)


def _stop(kind: StepKind, state: RolloutState, why: str) -> Step:
    """Pause the Deployment as it is.

    The controller of a paused Deployment with two ReplicaSets still scales them to replicas + maxSurge together, and
    it deletes the old pods when the new ReplicaSet alone has all replicas. So the replicas of the Deployment are what
    they have together where that is more: then it deletes no pod and adds none.
    """
    size = state.old + state.new if state.size is None else state.size
    more = size if size > state.replicas else None
    return Step(kind, RolloutSettings(0, 1, paused_because=str(kind), size=more), state.ready, why)
