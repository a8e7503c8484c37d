"""A model that was not readable at first is tried again, and what was made meanwhile is put right until it serves."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.builders.deployments import H100, LLAMA_8B, LLAMA_70B, node
from tests.fake.world import World
from triton_vllm_operator.api import kinds, names
from triton_vllm_operator.api.conditions import find
from triton_vllm_operator.api.kinds import Key
from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.capacity import shape_from_config
from triton_vllm_operator.controller import ttl_cache
from triton_vllm_operator.controller.queue import Result
from triton_vllm_operator.controller.steps.plan import REPLAN_S
from triton_vllm_operator.plan.inspection_protocol import Failure, InspectedModel, InspectionResult, encode_result

Object = dict[str, Any]
KEY = Key("team", "a")
SILENT = Failure(Reason.HUB_UNREACHABLE, "No answer.")
LARGE = InspectedModel("d" * 40, shape_from_config(LLAMA_70B))
SMALL = InspectedModel("c" * 40, shape_from_config(LLAMA_8B))
COMPLETE = {"conditions": [{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}]}


@dataclass
class Healing:
    """An operator that inspects, its clock, and the pods that a kubelet would run."""

    world: World
    now: datetime = field(default_factory=lambda: datetime(2026, 1, 1, tzinfo=UTC))

    @classmethod
    async def of(cls, **spec: Any) -> Healing:
        world = World.of(0)
        world.chaos.calm()
        world.chaos.slow_s = 0.002
        made = cls(world)
        world.with_operator_image("registry.example/operator:1")
        world.reconciler.inspector.now = lambda: made.now
        world.api.create({"apiVersion": "v1", "kind": "Node", **node(H100)}, "cluster")
        kind = kinds.LLM_DEPLOYMENT
        body = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": "a", "namespace": "team"}}
        world.api.create({**body, "spec": {"model": {"uri": "hf://org/model"}, **spec}}, "user")
        await made.look()
        return made

    async def look(self, after_s: float = 0.0) -> Result:
        """One reconcile, some time later."""
        self.now += timedelta(seconds=after_s)
        return await self.world.manager.reconcile(self.world.manager.cluster, KEY)

    async def says(self, outcome: InspectionResult) -> Result:
        """The newest inspection pod ends with that, and the operator looks."""
        pod = self.inspections()[-1]
        finished = self.now.strftime("%Y-%m-%dT%H:%M:%SZ")
        ended = {"exitCode": 0, "message": encode_result(outcome), "finishedAt": finished}
        statuses = [{"name": names.INSPECTION_CONTAINER, "state": {"terminated": ended}}]
        place = (kinds.POD, "team", pod["metadata"]["name"])
        self.world.api.change(place, "kubelet", lambda obj: obj.update(status={"containerStatuses": statuses}))
        self.world.manager.cluster.inspections.put(self.world.api.objects[place])
        return await self.look()

    async def stays(self, seconds: float) -> float:
        """The seconds after which a new attempt is made, of a failure that stays; the operator looks when it wanted."""
        last, waited = self.inspections()[-1], 0.0
        result = await self.look()
        while self.inspections()[-1] == last:
            assert result.after is not None
            assert waited < seconds
            waited += result.after
            result = await self.look(result.after)
        return waited

    def inspections(self) -> list[Object]:
        """Those that are there, the newest last."""
        live = [pod for pod in self.world.api.all(kinds.POD) if names.INSPECTS_LABEL in pod["metadata"]["labels"]]
        return sorted(live, key=lambda pod: int(pod["metadata"]["resourceVersion"]))

    def runs(self, *, ready: bool, status: Object | None = None) -> None:
        """A serving pod of the Deployment as it is now, and what the Deployment's controller says."""
        deployment = self.deployment()
        template = deployment["spec"]["template"]
        container = {"name": "server", "ready": ready, "started": ready, "restartCount": 0, "state": {"running": {}}}
        conditions = [{"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-01-01T00:00:00Z"}]
        told = {"phase": "Running", "podIP": "10.0.0.1", "conditions": conditions, "containerStatuses": [container]}
        meta = {**template["metadata"], "name": "a-1", "namespace": "team"}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"], "status": told}
        cluster = self.world.manager.cluster
        cluster.note(self.world.api.create(pod, "Deployment"))
        if status is not None:
            place = (kinds.DEPLOYMENT, "team", "a")
            self.world.api.change(place, "Deployment", lambda obj: obj.update(status=status))
            cluster.note(self.world.api.objects[place])

    def fails(self) -> None:
        """The serving pod goes away."""
        place = (kinds.POD, "team", "a-1")
        gone = self.world.api.objects[place]
        self.world.api.delete(place, "kubelet")
        self.world.manager.cluster.stores[kinds.POD].drop(gone)

    def deployment(self) -> Object:
        found = self.world.api.get(kinds.DEPLOYMENT, "team", "a")
        assert found is not None
        return found

    def gpus(self) -> str:
        [container] = self.deployment()["spec"]["template"]["spec"]["containers"]
        return str(container["resources"]["limits"]["nvidia.com/gpu"])

    def status(self) -> Object:
        found = self.world.api.get(kinds.LLM_DEPLOYMENT, "team", "a")
        assert found is not None
        status: Object = found["status"]
        return status

    def condition(self, kind: str) -> tuple[str, str]:
        found = find(self.status()["conditions"], kind) or {}
        return found["status"], found["reason"]


async def test_a_choice_is_made_once_the_hub_answers_while_no_pod_has_served() -> None:
    made = await Healing.of()
    await made.says(SILENT)
    assert (made.gpus(), set(made.status()["chosen"])) == ("1", {"basis"})
    made.runs(ready=False)
    await made.look(10.0)
    await made.says(LARGE)
    assert (made.gpus(), made.condition("Fits")) == ("4", ("True", "Fits"))
    assert made.status()["chosen"]["tensorParallelSize"] == 4
    written = json.loads(made.deployment()["metadata"]["annotations"][names.CHOSEN_ANNOTATION])
    assert written == made.status()["chosen"]


async def test_what_was_chosen_late_stands_and_nothing_is_written_again() -> None:
    made = await Healing.of()
    await made.says(SILENT)
    await made.look(10.0)
    await made.says(LARGE)
    before = made.deployment()["metadata"]["generation"]
    made.world.api.create({"apiVersion": "v1", "kind": "Node", **node(H100, gpus=1, name="m")}, "cluster")
    await made.look(60.0)  # the pod that read the model goes
    version = made.world.api.version
    await made.look(600.0)
    assert made.deployment()["metadata"]["generation"] == before
    assert made.world.api.version == version


@pytest.mark.parametrize("fails", [False, True])
async def test_what_has_served_is_never_chosen_for_anew(fails: bool) -> None:
    made = await Healing.of()
    await made.says(SILENT)
    made.runs(ready=True, status=COMPLETE if fails else None)
    if fails:  # every pod is down, and only the Deployment's controller remembers
        made.fails()
    await made.look(10.0)
    await made.says(LARGE)
    assert (made.gpus(), made.condition("Fits")) == ("1", ("False", "DoesNotFit"))
    assert set(made.status()["chosen"]) == {"basis"}


async def test_an_engine_that_is_loaded_counts_as_serving() -> None:
    made = await Healing.of()
    await made.says(SILENT)
    made.runs(ready=False)
    place = (kinds.POD, "team", "a-1")
    made.world.api.change(place, "kubelet", lambda obj: obj["status"]["containerStatuses"][0].update(started=True))
    made.world.manager.cluster.note(made.world.api.objects[place])
    await made.look(10.0)
    await made.says(LARGE)
    assert made.gpus() == "1"


async def test_a_ready_pod_of_another_configuration_does_not_keep_the_new_one_back() -> None:
    made = await Healing.of()
    await made.says(SMALL)
    made.runs(ready=True)
    change = {"model": {"uri": "hf://org/large"}}
    made.world.api.change((kinds.LLM_DEPLOYMENT, "team", "a"), "user", lambda obj: obj.update(spec=change))
    await made.look()
    await made.says(SILENT)
    assert made.gpus() == "1"
    await made.look(10.0)
    await made.says(LARGE)
    assert made.gpus() == "4"


async def test_pods_that_load_a_model_that_fits_are_not_made_anew() -> None:
    made = await Healing.of()
    await made.says(SILENT)
    before = made.deployment()["metadata"]["generation"]
    made.runs(ready=False)
    await made.look(10.0)
    await made.says(SMALL)
    assert made.condition("Fits") == ("True", "Fits")
    assert made.deployment()["metadata"]["generation"] == before


async def test_a_new_node_heals_what_nothing_fitted_before() -> None:
    made = await Healing.of(engine={"maxModelLen": 131072})
    made.world.api.delete((kinds.NODE, "", "n"), "cluster")
    made.world.api.create({"apiVersion": "v1", "kind": "Node", **node(H100, gpus=1)}, "cluster")
    await made.says(SILENT)
    await made.look(10.0)
    result = await made.says(LARGE)
    assert (made.gpus(), made.condition("Fits")) == ("1", ("False", "DoesNotFit"))
    assert result.after == REPLAN_S, "no watch reports a node"
    made.world.api.delete((kinds.NODE, "", "n"), "cluster")
    made.world.api.create({"apiVersion": "v1", "kind": "Node", **node(H100)}, "cluster")
    made.world.reconciler.planner.nodes = ttl_cache.nodes()  # fifteen seconds later
    await made.look(REPLAN_S)
    assert (made.gpus(), made.condition("Fits")) == ("4", ("True", "Fits"))


async def test_a_model_that_stays_unreadable_is_tried_less_and_less_often() -> None:
    made = await Healing.of()
    pauses = []
    for _ in range(8):
        await made.says(Failure(Reason.MODEL_GATED, "org/model is gated."))
        assert made.condition("ModelResolved") == ("False", "ModelGated")
        pauses.append(await made.stays(400.0))
    assert pauses == [10, 20, 40, 80, 160, 300, 300, 300]
    assert made.world.api.get(kinds.DEPLOYMENT, "team", "a") is None
    await made.says(LARGE)
    assert made.gpus() == "4"


async def test_between_two_attempts_nothing_is_written() -> None:
    made = await Healing.of()
    await made.says(Failure(Reason.MODEL_GATED, "org/model is gated."))
    version = made.world.api.version
    await made.look(3.0)
    await made.look(3.0)
    assert made.world.api.version == version


async def test_a_claim_that_is_bound_later_is_read_and_chosen_by() -> None:
    made = await Healing.of(model={"uri": "pvc://models/large"})
    result = await made.look()
    assert (made.gpus(), made.condition("ModelResolved")) == ("1", ("Unknown", "ClaimNotFound"))
    assert result.after is not None
    assert result.after <= 15.0, "no watch reports a claim"
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "models", "namespace": "team"}}
    made.world.api.create({**claim, "status": {"phase": "Bound"}}, "user")
    await made.look(result.after)
    await made.says(LARGE)
    assert (made.gpus(), made.condition("Fits")) == ("4", ("True", "Fits"))


@pytest.mark.parametrize(
    ("mode", "serves", "mounted"),
    [("ReadWriteMany", True, True), ("ReadWriteOnce", False, True), ("ReadWriteOnce", True, False)],
)
async def test_a_token_in_a_claim_is_read_while_the_claim_can_be_mounted(
    mode: str, serves: bool, mounted: bool
) -> None:
    template = {
        "env": [{"name": "HF_HOME", "value": "/hf"}],
        "volumes": [{"name": "home", "persistentVolumeClaim": {"claimName": "home"}}],
        "volumeMounts": [{"name": "home", "mountPath": "/hf"}],
    }
    made = await Healing.of(podTemplate=template)
    [first] = made.inspections()
    await made.says(SILENT)  # serving pods do not wait any longer
    if serves:
        made.runs(ready=False)
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "home", "namespace": "team"}}
    bound = {"spec": {"accessModes": [mode]}, "status": {"phase": "Bound"}}
    made.world.api.create({**claim, **bound}, "user")
    await made.look()
    now = made.inspections()[-1]
    assert not _mounts(first, "home")
    assert _mounts(now, "home") is mounted


def _mounts(pod: Object, volume: str) -> bool:
    return any(mount["name"] == volume for mount in pod["spec"]["containers"][0]["volumeMounts"])
