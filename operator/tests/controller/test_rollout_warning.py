"""What is warned of at `kubectl apply`: a change whose rollout would wait for a GPU."""

from __future__ import annotations

import copy
from datetime import date
from typing import Any

import pytest

from tests.builders.deployments import A10, node
from tests.builders.worlds import stored
from tests.fake import clock
from tests.fake.world import World, served
from triton_vllm_operator.api import kinds
from triton_vllm_operator.plan.validation import validate

SPEC: dict[str, Any] = {"model": {"uri": "hf://org/model"}, "planning": {"mode": "Off"}}
CHANGE: dict[str, Any] = {"podTemplate": {"env": [{"name": "A", "value": "1"}]}}


async def world_with(gpus: int, *, ready: bool) -> World:
    """An LLMDeployment with one pod, on the only node."""
    world = await served(SPEC)
    world.api.create({"apiVersion": "v1", "kind": "Node", **node(A10, gpus=gpus)}, "cluster")
    deployment = world.api.get(kinds.DEPLOYMENT, "team", "a")
    assert deployment is not None
    template = deployment["spec"]["template"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**template["metadata"], "name": "a-1", "namespace": "team"},
        "spec": {**template["spec"], "nodeName": "n"},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]},
    }
    world.manager.cluster.stores[kinds.POD].put(copy.deepcopy(world.api.create(pod, "cluster")))
    return world


@pytest.mark.parametrize(
    ("change", "gpus", "ready", "warned"),
    [
        (CHANGE, 1, True, True),
        (CHANGE, 2, True, False),
        (CHANGE, 1, False, False),
        ({"service": {"annotations": {"a": "b"}}}, 1, True, False),
        ({**CHANGE, "rollout": {"strategy": "Replace"}}, 1, True, False),
        ({**CHANGE, "rollout": {"paused": True}}, 1, True, False),
    ],
)
def test_a_change_that_would_wait_is_warned_of_with_the_ways_on(
    change: dict[str, Any], gpus: int, ready: bool, warned: bool
) -> None:
    async def work() -> str | None:
        world = await world_with(gpus, ready=ready)
        obj = {**stored(world), "spec": {**SPEC, **change}}
        cluster, rollouts = world.manager.cluster, world.reconciler.rollouts
        return await rollouts.warning(cluster, obj, validate(obj, None, date(2026, 1, 1)), {})

    message = clock.run(work())
    assert (message is not None) is warned, message
    if message is not None:
        assert "the only ready pod would be deleted" in message
        assert "kubectl llm rollout proceed a -n team" in message
        assert "set spec.rollout.strategy to Replace" in message
