"""Reconcile step: the revision of the spec is recorded, and how the Deployment may replace its pods is decided.

What has to survive a crash is written before it takes effect: a revision before the Deployment runs it, and why a
revision failed before the previous one is restored.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from triton_vllm_operator.api import kinds, names
from triton_vllm_operator.api.kinds import Key
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.controller.cluster import ClusterView
from triton_vllm_operator.controller.free_gpus import FreeGPUs
from triton_vllm_operator.controller.steps.apply import write_child
from triton_vllm_operator.controller.steps.validate import allows_vulnerable_images
from triton_vllm_operator.desired import pod, revisions
from triton_vllm_operator.desired.children import children
from triton_vllm_operator.desired.inputs import Defaults, ServingImage
from triton_vllm_operator.desired.revisions import Failure, Revision
from triton_vllm_operator.desired.rollout_settings import DeployedRevision
from triton_vllm_operator.observed import pods as pod_states
from triton_vllm_operator.observed.observation import Observation
from triton_vllm_operator.observed.pods import PodState
from triton_vllm_operator.plan.autoconfig import recorded
from triton_vllm_operator.plan.revisions import History, Proceed, history
from triton_vllm_operator.plan.rollout import RolloutState, Step, StepKind, next_step
from triton_vllm_operator.plan.rollout_failure import failure
from triton_vllm_operator.plan.rollout_pods import Pods, pods_by_revision, rollout_state
from triton_vllm_operator.plan.rollout_report import Rollout, measured_start
from triton_vllm_operator.plan.validation import Rejected, ValidatedSpec
from triton_vllm_operator.plan.validation import validate as validate_spec

log = logging.getLogger(__name__)

Object = Mapping[str, Any]

_RESERVED_FOR = "rollout"
_NO_PREVIOUS = "No revision is known whose pods have all served, so none is restored."


@dataclass(frozen=True, slots=True)
class Decided:
    """The rollout, and the children with what it sets in them.

    Attributes:
        image: the serving image that is deployed.
        templates: pod-template-hash labels of the deployed revision's pods; None where it is not known.
        delete: names of ControllerRevisions to delete when the children are written.
    """

    rollout: Rollout
    image: ServingImage
    desired: list[dict[str, Any]]
    templates: frozenset[str] | None = None
    delete: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Restored:
    """The previous revision's spec and image."""

    revision: Revision
    llm: LLMDeployment
    image: ServingImage


@dataclass
class Rollouts:
    """Decides rollouts.

    It keeps nothing but the GPUs that rollouts are about to take.
    """

    gpus: FreeGPUs
    defaults: Defaults
    serving_image: str | None = None

    def forget(self, key: Key) -> None:
        """The LLMDeployment was deleted."""
        self.gpus.release(key, _RESERVED_FOR)

    async def decide(
        self, cluster: ClusterView, obj: Object, spec: ValidatedSpec, llm: LLMDeployment, today: date, now: str
    ) -> Decided:
        """Record the revision of the spec, and decide how the Deployment may replace its pods.

        Args:
            obj: the LLMDeployment as read.
            llm: the same with its automatic configuration.
            now: RFC 3339 time.

        Raises:
            KubeError: where a revision cannot be written.
            Rejected: where it is too large, or the API server rejects it.
        """
        deployment = cluster.running(llm).deployment
        found = self._history(cluster, obj, spec, llm, deployment)
        for revision in found.write:
            await _write(cluster, llm, revision, now)
        restored, not_restored = await self._restored(cluster, obj, llm, found, today)
        deployed = restored.revision if restored else found.target
        served = restored.llm if restored else llm
        image = restored.image if restored else spec.image
        rollout = Rollout(served, found.target, deployed, found.previous, not_restored=not_restored)
        given = DeployedRevision(mark=deployed.mark)
        if restored:
            given = replace(given, template=deployed.template, repository=deployed.data["repository"])
        templates, running = None, frozenset[str]()
        if not _at_rest(llm, deployment, deployed):
            pods = await self._pods(cluster, llm, deployment, deployed)
            state, step = await self._step(cluster, obj, rollout, pods, deployment, now)
            rollout, templates = replace(rollout, state=state, step=step), pods.templates
            running = pods.marks
            if deployment is not None:
                given = replace(given, settings=step.settings)
        desired = children(served, image, self.defaults, given)
        delete = tuple(one.name for one in found.surplus if one.mark not in running)
        return Decided(rollout, image, desired, templates, delete)

    async def record(self, cluster: ClusterView, rollout: Rollout, seen: Observation, now: str) -> None:
        """Record that all pods of the deployed revision have served, or that the revision of the spec has failed.

        Args:
            seen: with the answers of the pods.
            now: RFC 3339 time.
        """
        deployed, llm = rollout.deployed, rollout.llm
        wanted = seen.desired_replicas
        if not deployed.served and wanted and seen.deployment_settled and len(seen.proven_pods) >= wanted:
            served = replace(deployed, served=True, start_s=measured_start(seen.proven_pods))
            await _write(cluster, llm, served, now)
            return
        replaces = rollout.before is not None or (rollout.state is not None and rollout.state.old > 0)
        if rollout.undone or deployed.served or deployed.failure is not None or not replaces:
            return
        if rollout.step is None or rollout.step.settings.paused_because:
            return
        proceed = Proceed.of(llm.annotations)
        since = proceed.at if proceed.accepts(deployed) else ""
        if why := failure(replace(seen, stopped=None), since):
            log.warning("%s/%s: revision %d failed: %s", llm.namespace, llm.name, deployed.number, why)
            await _write(cluster, llm, replace(deployed, failure=Failure(now, why)), now)

    async def prune(self, cluster: ClusterView, llm: LLMDeployment, decided: Decided) -> None:
        """Delete revisions beyond the limit of the history."""
        for obj in cluster.children(kinds.REVISION, Key(llm.namespace, llm.name)):
            if obj["metadata"]["name"] in decided.delete and "deletionTimestamp" not in obj["metadata"]:
                await cluster.delete(obj)

    async def warning(
        self, cluster: ClusterView, obj: Object, spec: ValidatedSpec, status: Mapping[str, Any]
    ) -> str | None:
        """What to warn of before a spec is stored: that its rollout would wait for a GPU; None for nothing.

        Args:
            status: of the object as it is stored now.
        """
        llm = spec.llm
        chosen = recorded(llm, status.get("chosen"))
        llm = llm.with_chosen(chosen) if chosen else llm
        deployment = cluster.running(llm).deployment
        if deployment is None or llm.spec.rollout.strategy != "Auto" or llm.spec.rollout.paused:
            return None
        found = self._history(cluster, obj, spec, llm, deployment)
        if found.target.mark == _mark(deployment) or found.target.failure is not None:
            return None
        pods = pods_by_revision(_pod_states(cluster, llm), [], found.target)
        pods = replace(pods, old=[*pods.old, *pods.new], new=[])
        room, _ = await self.gpus.room(cluster, llm)
        state = rollout_state(llm, deployment, pods, "", room)
        step = next_step(state)
        if step.kind is not StepKind.HELD:
            return None
        stopped = Rollout(llm, found.target, found.target, found.previous, state, step).stopped()
        return stopped.message if stopped else None

    def _history(
        self,
        cluster: ClusterView,
        obj: Object,
        spec: ValidatedSpec,
        llm: LLMDeployment,
        deployment: Object | None,
    ) -> History:
        read = (revisions.read(one) for one in cluster.children(kinds.REVISION, Key(llm.namespace, llm.name)))
        live = [one for one in read if one is not None]
        data = revisions.content(obj["spec"], llm, spec.image, self.defaults)
        return history(
            llm.name,
            data,
            live,
            None if deployment is None else _mark(deployment),
            unchanged=not live
            and deployment is not None
            and _is_unchanged(deployment, children(llm, spec.image, self.defaults)),
            proceed=Proceed.of(obj["metadata"].get("annotations") or {}),
            limit=llm.spec.rollout.revision_history_limit,
        )

    async def _restored(
        self, cluster: ClusterView, obj: Object, llm: LLMDeployment, found: History, today: date
    ) -> tuple[_Restored | None, str]:
        """The previous revision, where the one of the spec has failed and is undone; else why it is not restored."""
        if found.target.failure is None or llm.spec.rollout.on_failure == "Hold":
            return None, ""
        previous = found.previous
        if previous is None:
            return None, _NO_PREVIOUS
        kept = {key: obj["spec"][key] for key in revisions.NOT_RECORDED if key in obj["spec"]}
        try:
            spec = validate_spec({**obj, "spec": {**previous.data["spec"], **kept}}, self.serving_image, today)
            spec.check(opted_out=spec.needs_opt_out and await allows_vulnerable_images(cluster, llm.namespace))
        except Rejected as rejected:
            return None, f"Revision {previous.number} is not restored: {rejected.reason}: {rejected.message}"
        chosen = recorded(spec.llm, previous.data.get("chosen"))
        old = spec.llm.with_chosen(chosen) if chosen else spec.llm
        # The record on the Deployment stays that of the spec, which the next reconcile configures by it again.
        return _Restored(previous, old.model_copy(update={"chosen": llm.chosen, "scaled": llm.scaled}), spec.image), ""

    async def _pods(
        self, cluster: ClusterView, llm: LLMDeployment, deployment: Object | None, deployed: Revision
    ) -> Pods:
        found: list[dict[str, Any]] = []
        # Of the first revision alone there is nothing to tell apart.
        others = len(cluster.children(kinds.REVISION, Key(llm.namespace, llm.name))) > 1
        if deployment is not None and (others or deployed.mark):
            selector = f"{names.INSTANCE_LABEL}={llm.name}"
            found = await cluster.client.list_all(kinds.REPLICA_SET, llm.namespace, label_selector=selector)
        uid = (deployment or {}).get("metadata", {}).get("uid", "")
        own = [one for one in found if kinds.is_owned(one, uid)]
        return pods_by_revision(_pod_states(cluster, llm), own, deployed)

    async def _step(
        self, cluster: ClusterView, obj: Object, rollout: Rollout, pods: Pods, deployment: Object | None, now: str
    ) -> tuple[RolloutState, Step]:
        key, target = Key(rollout.llm.namespace, rollout.llm.name), rollout.target
        if any(one.node for one in pods.new):
            self.gpus.release(key, _RESERVED_FOR)
        # Which GPUs are free decides only while there is something to replace.
        room = (await self.gpus.room(cluster, rollout.llm))[0] if pods.old else None
        state = rollout_state(
            rollout.llm,
            deployment,
            pods,
            now,
            room,
            proceed=Proceed.of(obj["metadata"].get("annotations") or {}).accepts(target),
            failed=target.failure is not None and not rollout.undone,
            undoing=rollout.undone,
        )
        step = next_step(state)
        if step.kind is StepKind.SURGING and not any(one.node for one in pods.new):
            self.gpus.reserve(key, _RESERVED_FOR, rollout.llm)
        return state, step


async def _write(cluster: ClusterView, llm: LLMDeployment, revision: Revision, now: str) -> None:
    live = cluster.stores[kinds.REVISION].get(llm.namespace, revision.name)
    uid = str(live["metadata"]["uid"]) if live else None
    made = revisions.to_object(llm, revision)
    if (size := len(json.dumps(made["data"]))) > revisions.MAX_BYTES:
        what = f"The configuration is too large to be recorded: {size} bytes, of at most {revisions.MAX_BYTES}."
        raise Rejected(Reason.CHILD_REFUSED, f"{what} Shorten the longest values of spec.engine and spec.podTemplate.")
    await write_child(cluster, llm, made, uid, now)


def _pod_states(cluster: ClusterView, llm: LLMDeployment) -> list[PodState]:
    return pod_states.read_all(cluster.children(kinds.POD, Key(llm.namespace, llm.name)), pod.CONTAINER)


def _mark(deployment: Object) -> str:
    found: str = deployment["metadata"].get("annotations", {}).get(names.REVISION_ANNOTATION, "")
    return found


def _is_unchanged(deployment: Object, desired: Iterable[Object]) -> bool:
    """Whether the Deployment was applied as it is desired now."""
    applied = deployment["metadata"].get("annotations", {}).get(names.APPLIED_HASH_ANNOTATION)
    made = next(one for one in desired if one["kind"] == kinds.DEPLOYMENT.kind)
    return bool(applied == made["metadata"]["annotations"][names.APPLIED_HASH_ANNOTATION])


def _at_rest(llm: LLMDeployment, deployment: Object | None, deployed: Revision) -> bool:
    """Whether the Deployment runs the revision, all of whose pods have served, and has no pods of another one."""
    if deployment is None or not deployed.served or _mark(deployment) != deployed.mark:
        return False
    status, spec = deployment.get("status", {}), deployment["spec"]
    observed = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    return observed and not spec.get("paused") and status.get("updatedReplicas", 0) == status.get("replicas", 0)
