"""Before pods may hold GPUs: the model is read by a short pod, then planned. Nothing here stops what already runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from triton_vllm_operator.api import kinds, names
from triton_vllm_operator.api.autoconfig import Chosen
from triton_vllm_operator.api.conditions import Condition, ConditionType, find
from triton_vllm_operator.api.kinds import Key, Object
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.capacity import ModelShape
from triton_vllm_operator.controller import ttl_cache
from triton_vllm_operator.controller.manager import Cluster
from triton_vllm_operator.controller.shape_cache import Models
from triton_vllm_operator.controller.ttl_cache import Shared
from triton_vllm_operator.desired import repository
from triton_vllm_operator.desired.inputs import Defaults
from triton_vllm_operator.desired.inspect_pod import inspect_pod
from triton_vllm_operator.desired.pod import CONTAINER
from triton_vllm_operator.kube.errors import Conflict, Forbidden, Invalid
from triton_vllm_operator.observed import findings, pods
from triton_vllm_operator.observed.findings import Finding
from triton_vllm_operator.observed.observation import Observation
from triton_vllm_operator.plan import inspection, verdict
from triton_vllm_operator.plan.autoconfig import empty_autoconfig, recorded
from triton_vllm_operator.plan.inspection_protocol import NO_RESULT, Failure, InspectedModel
from triton_vllm_operator.plan.model_status import model_from_status, model_status
from triton_vllm_operator.plan.not_planned import NotPlanned
from triton_vllm_operator.plan.validation import Wanted
from triton_vllm_operator.webhook.verdict import Foreseen

log = logging.getLogger(__name__)

MODEL_RESOLVED = ConditionType.MODEL_RESOLVED
# A pod that reads no answer within this time does not hold the serving pods back any longer.
PATIENCE_S = 60.0
REPLAN_S = 30.0  # a new node is not watched: how soon it lifts a verdict that keeps pods back


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Planned:
    """What is known before the children are applied.

    Attributes:
        llm: with what was chosen for fields that the spec leaves open.
        conditions: ModelResolved and Fits.
        facts: status.model, status.plan and status.chosen, where there are any.
        hold: why no pods are made, or None.
        after: seconds until another look.
        shape: of the model, where it was read.
    """

    llm: LLMDeployment
    conditions: tuple[Condition, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    hold: Finding | None = None
    after: float | None = None
    shape: ModelShape | None = None


@dataclass(frozen=True, slots=True)
class _Model:
    """What is known of the model: `read`, or else why not, and whether that keeps pods back."""

    condition: Condition
    facts: Mapping[str, Any] = field(default_factory=dict)
    read: InspectedModel | None = None
    hold: Finding | None = None
    after: float | None = None


@dataclass
class Planning:
    """Inspects and plans. Its only state is what it has seen last of nodes and models.

    Attributes:
        image: the operator's own image; None where it is not known: then nothing is inspected.
        pull_policy: of that image; "" leaves it to Kubernetes.
    """

    image: str | None = None
    pull_policy: str = ""
    defaults: Defaults = field(default_factory=Defaults)
    now: Callable[[], datetime] = _utc_now
    nodes: Shared[list[Object]] = field(default_factory=ttl_cache.nodes)
    models: Models = field(default_factory=Models)

    async def __call__(self, cluster: Cluster, wanted: Wanted, obj: Object) -> Planned:
        """Bring the inspection and the plan of one LLMDeployment forward. `obj`: as read from the API server."""
        llm = wanted.llm
        live = cluster.inspections.owned_by(Key(llm.namespace, llm.name))
        status = obj.get("status", {})
        chosen = _chosen_before(cluster, llm, status)
        stands = llm.with_chosen(chosen or empty_autoconfig(llm))
        if skipped := self._skipped(llm):
            await self._delete(cluster, inspection.not_deleting(live))
            return _planned(stands, _unknown(MODEL_RESOLVED, skipped), _unknown(ConditionType.FITS, skipped))
        model = await self._model(cluster, llm, status, live)
        waits = not _runs(cluster, stands)
        enforced = waits and llm.spec.planning.mode == "Enforce"
        if model.read is None:
            why = NotPlanned(model.condition.reason, f"There is no plan: {model.condition.message}")
            # Advice waits for the answer too, so that there is something to choose by, but not for a better one.
            held = model.hold if enforced or (waits and model.condition.reason == Reason.INSPECTING) else None
            return _planned(stands, model.condition, verdict.condition(why), model.facts, held, model.after)
        self.models.remember(llm, model.read)
        decided = await self._decided(cluster, wanted, status, model.read, chosen, final=not enforced)
        told = verdict.condition(decided)
        if isinstance(decided, NotPlanned):
            return _planned(stands, model.condition, told, model.facts)
        hold = Finding(told.reason, told.message) if enforced and decided.forbids else None
        facts = {**model.facts, "plan": dict(decided.plan)}
        settled = llm.with_chosen(decided.chosen)
        again = hold is not None or (decided.forbids and _is_provisional(cluster, llm, chosen))
        made = _planned(settled, model.condition, told, facts, hold, REPLAN_S if again else None)
        return replace(made, shape=model.read.shape)

    async def foresee(self, cluster: Cluster, wanted: Wanted, status: Mapping[str, Any]) -> Foreseen | None:
        """The plan of an LLMDeployment that is about to be stored; None where its model is not known yet.

        Args:
            status: of the object as it is stored now, {} for a new one.
        """
        llm = wanted.llm
        if self._skipped(llm):
            return None
        own = model_from_status(llm, status.get("model", {}))
        read = own or self.models.find(llm)
        if read is None:
            return None
        chosen = _chosen_before(cluster, llm, status)
        runs = _runs(cluster, llm.with_chosen(chosen or empty_autoconfig(llm)))
        found = await self._decided(cluster, wanted, status, read, chosen, final=False)
        certain = own is not None or llm.spec.model.source.pinned
        return Foreseen(found, binding=certain and not runs and llm.spec.planning.mode == "Enforce")

    def _skipped(self, llm: LLMDeployment) -> NotPlanned | None:
        if llm.spec.planning.mode == "Off":
            return NotPlanned(
                Reason.PLANNING_OFF, "spec.planning.mode is Off: the model is not read and nothing is planned."
            )
        if self.image is None:
            message = "The operator was not told its own image (--operator-image), which would read the model."
            return NotPlanned(Reason.NOT_PLANNED, message)
        return None

    # ---------------------------------------------------------------- the model

    async def _model(
        self, cluster: Cluster, llm: LLMDeployment, status: Mapping[str, Any], live: list[Object]
    ) -> _Model:
        if known := model_from_status(llm, status.get("model", {})):
            await self._delete(cluster, inspection.not_deleting(live))  # what they said is in the status by now
            return _resolved(known, status["model"])
        assert self.image is not None
        wanted = inspect_pod(llm, self.image, self.pull_policy, self.defaults)
        seen = inspection.next_step(wanted, live, llm.uid, self.now())
        await self._delete(cluster, seen.delete)
        if seen.create is not None and (refused := await self._create(cluster, llm, seen.create)):
            return _not_read(refused)
        if isinstance(seen.result, InspectedModel):
            return _resolved(seen.result, model_status(llm, seen.result))
        before = _told_before(llm, status)
        if seen.result is not None:
            # A pod that ended without a word, such as one that waited for a Secret to its deadline, disproves nothing.
            silent = seen.result.reason == NO_RESULT
            return _failed(before if silent and before is not None else seen.result, seen.retry_s)
        return _waiting(llm, seen, before)

    async def _create(self, cluster: Cluster, llm: LLMDeployment, pod: dict[str, Any]) -> NotPlanned | None:
        """Make the pod; why it was not made, where the namespace does not allow it."""
        try:
            if unbound := await _claim_problem(cluster, llm):
                return unbound
            log.info("%s/%s: create pod %s", llm.namespace, llm.name, pod["metadata"]["name"])
            cluster.inspections.put(await cluster.client.create(pod))
        except Conflict:
            log.info("%s/%s: pod %s is there already", llm.namespace, llm.name, pod["metadata"]["name"])
        except (Forbidden, Invalid) as error:
            return NotPlanned(Reason.INSPECTION_REFUSED, f"The pod that reads the model was refused: {error.reason}.")
        return None

    async def _delete(self, cluster: Cluster, done: tuple[Mapping[str, Any], ...]) -> None:
        for pod in done:
            ref = kinds.ref_of(pod)
            log.info("%s: delete %s", ref.namespace, ref)
            await cluster.client.delete(ref)

    # ----------------------------------------------------------------- the plan

    async def _decided(
        self,
        cluster: Cluster,
        wanted: Wanted,
        status: Mapping[str, Any],
        read: InspectedModel,
        chosen: Chosen | None,
        *,
        final: bool,
    ) -> verdict.Decision | NotPlanned:
        """The plan that stands, else a new one.

        What was made before the model was known, with nothing chosen, is chosen for when it cannot fit, as long as no
        pod of it has served.

        Args:
            final: whether a plan that forbids stands too.
        """
        provisional = _is_provisional(cluster, wanted.llm, chosen)
        kept = verdict.kept_decision(status, wanted.engine_version, chosen) if chosen is not None else None
        if kept is not None and not (kept.forbids and (provisional or not final)):
            return kept
        decided = await self._decide(cluster, wanted, read, chosen)
        if provisional and isinstance(decided, verdict.Decision) and decided.forbids:
            better = await self._decide(cluster, wanted, read, None)
            if isinstance(better, verdict.Decision) and not better.forbids:
                return better
        return decided

    async def _decide(
        self,
        cluster: Cluster,
        wanted: Wanted,
        read: InspectedModel,
        chosen: Chosen | None,
    ) -> verdict.Decision | NotPlanned:
        try:
            nodes = await self.nodes.get(cluster)
        except Forbidden as error:
            return NotPlanned(Reason.NODES_NOT_READABLE, f"The operator may not list nodes: {error.reason}.")
        # A search takes up to a second, in which other reconciles and probes go on.
        llm, version, row = wanted.llm, wanted.engine_version, wanted.resolved.row
        return await asyncio.to_thread(verdict.decide, llm, read.shape, version, nodes, chosen, row=row)


def _planned(
    llm: LLMDeployment,
    model: Condition,
    fits: Condition,
    facts: Mapping[str, Any] = MappingProxyType({}),
    hold: Finding | None = None,
    after: float | None = None,
) -> Planned:
    """While pods are held back nothing is chosen yet: status.chosen is what the children were made with."""
    chosen = {"chosen": llm.chosen.to_json()} if llm.chosen is not None and hold is None else {}
    return Planned(llm, (model, fits), {**facts, **chosen}, hold, after)


def _chosen_before(cluster: Cluster, llm: LLMDeployment, status: Mapping[str, Any]) -> Chosen | None:
    """What the running Deployment was made with, else what the status says; None where the spec asks for a choice.

    A Deployment without the record was made by an operator that chose nothing.
    """
    live = _deployment(cluster, llm)
    if live is None:
        return recorded(llm, status.get("chosen"))
    if (text := live["metadata"].get("annotations", {}).get(names.CHOSEN_ANNOTATION)) is not None:
        return recorded(llm, text)
    nothing = empty_autoconfig(llm)
    return nothing if _runs(cluster, llm.with_chosen(nothing)) else None


def _runs(cluster: Cluster, llm: LLMDeployment) -> bool:
    """The Deployment has the wanted configuration already, so a verdict would come too late to keep it back."""
    template = (_deployment(cluster, llm) or {}).get("spec", {}).get("template", {}).get("metadata", {})
    return bool(template.get("annotations", {}).get(names.CONFIG_HASH_ANNOTATION) == repository.content_hash(llm))


def _is_provisional(cluster: Cluster, llm: LLMDeployment, chosen: Chosen | None) -> bool:
    """Whether what is there was made with nothing chosen, and no pod of it has served yet.

    A Deployment that once had all of its pods available keeps that word when they fail later, and when the operator
    was not there to see it.
    """
    live = _deployment(cluster, llm)
    if live is None or chosen is None or chosen.values:
        return False
    conditions = live.get("status", {}).get("conditions", [])
    if any(one["type"] == "Progressing" and one.get("reason") == "NewReplicaSetAvailable" for one in conditions):
        return False
    wanted = repository.content_hash(llm.with_chosen(chosen))
    states = pods.read_all(cluster.children(kinds.POD, Key(llm.namespace, llm.name)), CONTAINER)
    return not any(one.config_hash == wanted and (one.started or one.ready) for one in states)


def _deployment(cluster: Cluster, llm: LLMDeployment) -> Object | None:
    live = cluster.stores[kinds.DEPLOYMENT].get(llm.namespace, llm.name)
    owned = any(ref.get("uid") == llm.uid for ref in (live or {}).get("metadata", {}).get("ownerReferences", []))
    return live if owned else None


async def _claim_problem(cluster: Cluster, llm: LLMDeployment) -> NotPlanned | None:
    """Never be the first pod of a claim: that would choose the volume's node without regard to GPUs."""
    claim = llm.spec.model.source.claim_name
    if claim is None:
        return None
    obj = await cluster.client.find(kinds.PVC, llm.namespace, claim)
    if obj is None:
        return NotPlanned(Reason.CLAIM_NOT_FOUND, f"PersistentVolumeClaim {claim} does not exist.")
    if obj.get("status", {}).get("phase") != "Bound":
        return NotPlanned(Reason.CLAIM_NOT_BOUND, f"PersistentVolumeClaim {claim} has no volume yet.")
    return None


def _resolved(read: InspectedModel, model: Mapping[str, Any]) -> _Model:
    shape = read.shape
    size = f"{model['weightsBytes'] / 2**30:.2f} GiB of weights" if "weightsBytes" in model else "no safetensors files"
    commit = f" Commit {read.commit}." if read.commit else ""
    message = f"{shape.architecture}, {len(shape.layers)} layers, {size}.{commit}"
    return _Model(Condition(MODEL_RESOLVED, "True", Reason.RESOLVED, message), {"model": dict(model)}, read)


def _not_read(why: NotPlanned) -> _Model:
    # Nothing tells when a claim, a quota or a policy changes.
    return _Model(_unknown(MODEL_RESOLVED, why), after=15.0)


def _failed(failure: Failure, again_s: float | None) -> _Model:
    if not failure.definite:
        return _Model(Condition(MODEL_RESOLVED, "Unknown", failure.reason, failure.message), after=again_s)
    hold = Finding(failure.reason, failure.message)
    return _Model(Condition(MODEL_RESOLVED, "False", failure.reason, failure.message), hold=hold, after=again_s)


def _told_before(llm: LLMDeployment, status: Mapping[str, Any]) -> Failure | None:
    """A definite failure that was told of this spec: it stands until it is proven wrong."""
    before = find(status.get("conditions", []), MODEL_RESOLVED) or {}
    if before.get("status") != "False" or before.get("observedGeneration") != llm.generation:
        return None
    return Failure(before["reason"], before["message"])


def _waiting(llm: LLMDeployment, seen: inspection.InspectionStep, before: Failure | None) -> _Model:
    """The pod has not ended."""
    if seen.pod is not None and (stuck := _stuck(llm, seen.pod)):
        return _failed(stuck, None)
    if before is not None:
        return _failed(before, None)
    left = PATIENCE_S - seen.age_s
    message = "A pod reads the model's config.json and the headers of its weights."
    hold = Finding(Reason.INSPECTING, message) if left > 0 else None
    condition = Condition(MODEL_RESOLVED, "Unknown", Reason.INSPECTING, message)
    return _Model(condition, hold=hold, after=left if hold else None)


def _stuck(llm: LLMDeployment, pod: Object | Mapping[str, Any]) -> Failure | None:
    """Why the pod cannot start, where the kubelet says so: in the words that a serving pod gets."""
    state = pods.read(pod, names.INSPECTION_CONTAINER)
    look = Observation(llm=llm, deployment=None, pods=[state], config_hash="")
    if found := findings.reference_missing(look):
        return Failure(found.reason, found.message)
    if findings.image_problem(look):
        advice = "Give the namespace a secret for it in spec.podTemplate.imagePullSecrets, or correct --operator-image."
        message = f"The operator's image, which reads the model, cannot be pulled: {state.waiting_message} {advice}"
        return Failure(Reason.INSPECTION_IMAGE_PULL_FAILED, message[:2000])
    return None


def _unknown(kind: ConditionType, why: NotPlanned) -> Condition:
    return Condition(kind, "Unknown", why.reason, why.message)
