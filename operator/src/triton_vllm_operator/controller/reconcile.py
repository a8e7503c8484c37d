"""One LLMDeployment, from what is wanted and what is to what is written. Every write may be the last before a crash."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any, Protocol

from triton_vllm_operator.api import kinds, names
from triton_vllm_operator.api.conditions import Condition, ConditionType, events, find
from triton_vllm_operator.api.kinds import Key, Object
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.catalog import advisories
from triton_vllm_operator.controller.engine_reports import Reader, Source
from triton_vllm_operator.controller.gpu_usage import Holders
from triton_vllm_operator.controller.manager import Cluster
from triton_vllm_operator.controller.planning import Planned, Planning
from triton_vllm_operator.controller.queue import Result
from triton_vllm_operator.desired import pod, repository, services
from triton_vllm_operator.desired.children import CHILD_KINDS, children
from triton_vllm_operator.desired.inputs import Defaults, ServingImage
from triton_vllm_operator.kube.errors import Conflict, Forbidden, Invalid, KubeError, NotLeader
from triton_vllm_operator.observed import findings, needs, pods
from triton_vllm_operator.observed.findings import Finding
from triton_vllm_operator.observed.gpu_shortage import GPUUse
from triton_vllm_operator.observed.observation import Observation
from triton_vllm_operator.observed.status import StatusBuilder
from triton_vllm_operator.plan.actions import Apply, Delete, actions, foreign_owner
from triton_vllm_operator.plan.validation import Refusal, Wanted, understand

log = logging.getLogger(__name__)

_CORRECT = "Correct the field of spec that it names."
_AGAIN = "It is tried again, with growing pauses."
_ALLOW = "Ask the owner of the namespace for the quota, permission or admission webhook that the message names."

TOLD_AFTER = 3  # tries in a row: the first two are often a conflict, or an API server that starts again


class Probe(Source, Protocol):
    """Asks a pod for its report, and for a token."""

    async def ask(self, ip: str, model: str) -> str:
        """What came instead of a token, or ""."""


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Reconciler:
    """What every reconcile needs besides the cluster; its only state is what runs of pods have answered, and how often
    in a row an LLMDeployment could not be brought forward.

    Attributes:
        default_image: serving image of a spec that names none.
        clock: RFC 3339 time.
    """

    probe: Probe
    default_image: str | None = None
    defaults: Defaults = field(default_factory=Defaults)
    clock: Callable[[], str] = _now
    planning: Planning = field(default_factory=Planning)
    holders: Holders = field(default_factory=Holders)
    _proven: dict[Key, frozenset[str]] = field(default_factory=dict)
    _failures: Counter[Key] = field(default_factory=Counter)
    _reader: Reader = field(init=False)

    def __post_init__(self) -> None:
        self._reader = Reader(self.probe)

    async def __call__(self, cluster: Cluster, key: Key) -> Result:
        """Bring one LLMDeployment forward and write its status. What fails again and again is told there too."""
        obj = await cluster.client.find(kinds.LLM_DEPLOYMENT, key.namespace, key.name)
        if obj is None or "deletionTimestamp" in obj["metadata"]:
            self._proven.pop(key, None)  # owner references let Kubernetes collect the children
            self._failures.pop(key, None)
            self._reader.forget(key)
            return Result("Gone", gone=obj is None)
        try:
            result = await self._bring_forward(cluster, key, obj)
        except NotLeader:
            raise
        except Exception as error:
            self._failures[key] += 1
            if self._failures[key] >= TOLD_AFTER:
                await self._tell_trouble(cluster, obj, error)
            raise
        self._failures.pop(key, None)
        return result

    async def _bring_forward(self, cluster: Cluster, key: Key, obj: Object) -> Result:
        try:
            wanted, advisory = await self._understand(cluster, obj)
            image = wanted.image
            planned = await self.planning(cluster, wanted, obj)
            if planned.hold is not None:
                return await self._hold(cluster, obj, planned, advisory)
            llm = planned.llm
            await self._apply_children(cluster, llm, image)
        except Refusal as refusal:
            return await self._refuse(cluster, obj, refusal)
        seen = await self._observe(cluster, llm, obj)
        finding = findings.first_finding(seen)
        before = obj.get("status", {})
        back = await self._reader(key, seen, planned, before.get("actual", {}), stock=image.stock)
        facts = {
            "release": image.release,
            "image": image.reference,
            "endpoints": services.endpoints(llm),
            **planned.facts,
            **back.facts,
        }
        conditions = [advisory, *planned.conditions, back.condition]
        fresh = self._status_builder(obj).observed(seen, finding, conditions, facts)
        await self._write_status(cluster, obj, fresh)
        after = _sooner(_look_again(seen, finding), planned.after, back.after)
        return Result(finding.reason if finding else "Ready", after=after)

    # ---------------------------------------------------------------- what is wanted

    async def _understand(self, cluster: Cluster, obj: Object) -> tuple[Wanted, Condition]:
        """What is asked for, and what is known against its image; Refusal where it cannot run."""
        wanted = understand(obj, self.default_image, date.fromisoformat(self.clock()[:10]))
        opted_out = wanted.needs_opt_out and await allows_vulnerable_images(cluster, wanted.llm.namespace)
        wanted.refuse(opted_out=opted_out)
        return wanted, wanted.advisory(opted_out=opted_out)

    # ---------------------------------------------------------------- what is written

    async def _apply_children(self, cluster: Cluster, llm: LLMDeployment, image: ServingImage) -> None:
        key = Key(llm.namespace, llm.name)
        live = [obj for kind in CHILD_KINDS for obj in cluster.children(kind, key)]
        deployment = cluster.stores[kinds.DEPLOYMENT].get(llm.namespace, llm.name)
        repositories = cluster.children(kinds.CONFIG_MAP, key)
        in_use = needs.repositories_in_use(deployment, cluster.children(kinds.POD, key), repositories)
        for action in actions(children(llm, image, self.defaults), live, llm.uid, in_use):
            await self._act(cluster, llm, action)

    async def _act(self, cluster: Cluster, llm: LLMDeployment, action: Apply | Delete) -> None:
        if isinstance(action, Delete):
            log.info("%s/%s: delete %s: it %s", llm.namespace, llm.name, kinds.ref_of(action.obj), action.why)
            await cluster.delete(action.obj)
            return
        ref = kinds.ref_of(action.obj)
        log.info("%s/%s: apply %s", llm.namespace, llm.name, ref)
        try:
            if action.uid is None:
                await self._make(cluster, llm, action.obj)
            else:
                await cluster.apply(action.obj, uid=action.uid)
        except Invalid as error:
            raise Refusal(Reason.CHILD_REFUSED, f"Kubernetes refuses {ref}: {error.reason}. {_CORRECT}") from error
        except Forbidden as error:
            raise Refusal(Reason.CHILD_FORBIDDEN, f"{ref} may not be written: {error.reason}. {_ALLOW}") from error

    async def _make(self, cluster: Cluster, llm: LLMDeployment, obj: Object) -> None:
        """Apply a child that is not known yet. What somebody else made under its name is never taken over."""
        try:
            await cluster.apply(obj, uid=None)
        except Conflict:
            ref = kinds.ref_of(obj)
            found = await cluster.look(ref)
            if found is None:
                raise  # it has just gone
            if owner := foreign_owner(found, llm.uid):
                cure = "Delete or rename it, or give this LLMDeployment another name."
                raise Refusal(Reason.NAME_TAKEN, f"{ref} exists and belongs to {owner}. {cure}") from None
            await cluster.apply(obj, uid=found["metadata"]["uid"])  # ours, without the label that we watch

    async def _refuse(self, cluster: Cluster, obj: Object, refusal: Refusal) -> Result:
        fresh = self._status_builder(obj).rejected(refusal.reason, refusal.message)
        await self._write_status(cluster, obj, fresh)
        # A foreign object is not watched, so nothing tells that it has gone.
        return Result(refusal.reason, after=5.0 if refusal.reason == Reason.NAME_TAKEN else 30.0)

    async def _hold(self, cluster: Cluster, obj: Object, planned: Planned, advisory: Condition) -> Result:
        """No pods are made; what is there stays as it is."""
        assert planned.hold is not None
        fresh = self._status_builder(obj).held(planned.hold, [advisory, *planned.conditions], planned.facts)
        await self._write_status(cluster, obj, fresh)
        return Result(planned.hold.reason, after=planned.after)

    async def _tell_trouble(self, cluster: Cluster, obj: Object, error: Exception) -> None:
        """Say in the status why nothing moves, as far as the API server takes that."""
        if isinstance(error, KubeError):
            reason, why = Reason.API_SERVER_ERROR, f"The API server does not do what it is asked: {error}."
        else:
            what = f"{type(error).__name__}: {error}"
            reason, why = Reason.OPERATOR_ERROR, f"A defect of the operator, please report it: {what}."
        trouble = Finding(reason, f"{why} {_AGAIN}")
        fresh = self._status_builder(obj).blocked(trouble)
        try:
            await self._write_status(cluster, obj, fresh)
        except KubeError as unheard:
            log.warning("%s: its status cannot be written: %s", kinds.ref_of(obj), unheard)

    async def _write_status(self, cluster: Cluster, obj: Object, fresh: dict[str, Any]) -> None:
        """One write when something changed, none otherwise; events for conditions with a new reason."""
        before = obj.get("status", {})
        if fresh == before:
            return
        version = {key: obj["metadata"][key] for key in ("name", "namespace", "resourceVersion")}
        body = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": version, "status": fresh}
        await cluster.client.apply_status(body)
        for event in events(before.get("conditions", []), fresh["conditions"]):
            log.info("%s/%s: %s: %s", version["namespace"], version["name"], event.reason, event.message)
            await cluster.events.post(
                obj, kind=event.type, reason=event.reason, action=event.action, note=event.message
            )

    def _status_builder(self, obj: Object) -> StatusBuilder:
        return StatusBuilder(obj.get("status", {}), obj["metadata"].get("generation", 0), self.clock())

    # ---------------------------------------------------------------- what is

    async def _observe(self, cluster: Cluster, llm: LLMDeployment, obj: Object) -> Observation:
        key = Key(llm.namespace, llm.name)
        live = cluster.children(kinds.POD, key)
        deployment = cluster.stores[kinds.DEPLOYMENT].get(llm.namespace, llm.name)
        seen = Observation(
            llm=llm,
            deployment=deployment,
            pods=pods.read_all(live, pod.CONTAINER),
            config_hash=repository.content_hash(llm),
            answers=dict.fromkeys(self._known_answers(key, llm, obj, live), ""),
        )
        if needs.waits_for_gpu(seen):
            seen = replace(seen, gpu_use=await self._gpu_use(cluster, llm))
        if waiting := needs.pods_in_creation(seen):
            told = await asyncio.gather(*(cluster.client.events_of(llm.namespace, p.uid) for p in waiting))
            errors = {p.name: needs.mount_error(events) for p, events in zip(waiting, told, strict=True)}
            seen = replace(seen, mount_errors=errors)
        return await self._prove(key, seen)

    async def _gpu_use(self, cluster: Cluster, llm: LLMDeployment) -> GPUUse | None:
        """Who holds the GPUs; None where the nodes may not be listed."""
        try:
            nodes = await self.planning.nodes.get(cluster)
        except Forbidden:
            return None
        return await self.holders.use(cluster, llm, nodes)

    def _known_answers(self, key: Key, llm: LLMDeployment, obj: Object, live: list[Object]) -> frozenset[str]:
        """Runs that have answered. After a restart of the operator the status is the memory: a pod that was ready
        before Ready became true for this generation had answered then."""
        if key in self._proven:
            return self._proven[key]
        ready = find(obj.get("status", {}).get("conditions", []), ConditionType.READY) or {}
        if ready.get("status") != "True" or ready.get("observedGeneration") != llm.generation:
            return frozenset()
        states = [(o, pods.read(o, pod.CONTAINER)) for o in live]
        return frozenset(state.run for o, state in states if _ready_since(o) <= ready["lastTransitionTime"])

    async def _prove(self, key: Key, seen: Observation) -> Observation:
        """Ask each ready pod that has not answered yet for a token."""
        asked = needs.pods_to_prove(seen)
        came = await asyncio.gather(*(self.probe.ask(p.ip, seen.llm.model_name) for p in asked))
        answers = {**seen.answers, **{p.run: answer for p, answer in zip(asked, came, strict=True)}}
        alive = {p.run for p in seen.pods}
        self._proven[key] = frozenset(run for run, answer in answers.items() if answer == "" and run in alive)
        return replace(seen, answers=answers)


async def allows_vulnerable_images(cluster: Cluster, namespace: str) -> bool:
    """Whether the namespace takes the risk of a release below the second floor."""
    found = await cluster.client.find(kinds.NAMESPACE, None, namespace)
    annotations = (found or {}).get("metadata", {}).get("annotations", {})
    return bool(annotations.get(advisories.OPT_OUT_ANNOTATION) == "true")


def _sooner(*times: float | None) -> float | None:
    """The shortest of the waits that are asked for."""
    return min((time for time in times if time is not None), default=None)


def _ready_since(obj: Object) -> str:
    """RFC 3339 time since which a pod is ready; later than any time while it is not."""
    conditions = obj.get("status", {}).get("conditions", [])
    ready = next((c for c in conditions if c["type"] == "Ready" and c["status"] == "True"), None)
    return str(ready["lastTransitionTime"]) if ready else "~"


def _look_again(seen: Observation, finding: Finding | None) -> float | None:
    """Seconds until another look where no watch event will tell of a change; None leaves it to the resync."""
    if finding is None:
        return None
    if finding.reason == Reason.NO_TOKEN:
        return 2.0
    if needs.pods_in_creation(seen):
        return 4.0  # a volume that cannot be mounted is told by an event of the pod, which is not watched
    return 30.0 if finding.reason == Reason.INSUFFICIENT_GPUS else None
