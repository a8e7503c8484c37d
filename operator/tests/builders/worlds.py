"""The operator on a fake API server, with a model that was read."""

from __future__ import annotations

from typing import Any

from tests.builders.deployments import H100, node
from tests.fake.world import World, served
from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.capacity import shape_from_config
from triton_vllm_operator.plan.inspection_protocol import InspectedModel
from triton_vllm_operator.plan.model_status import model_status

Object = dict[str, Any]

COMMIT = "c" * 40


def spec(**more: Any) -> Object:
    return {"model": {"uri": f"hf://org/model@{COMMIT}"}, **more}


def stored(world: World) -> Object:
    found = world.api.get(kinds.LLM_DEPLOYMENT, "team", "a")
    assert found is not None
    return found


async def planning_world(config: Object, driver: str = "", **more: Any) -> World:
    """A world with one node of eight H100 and an LLMDeployment whose model has been read."""
    world = await served(spec(**more))
    world.with_operator_image("registry.example/operator:1")
    world.api.create({"apiVersion": "v1", "kind": "Node", **node(H100, driver=driver)}, "cluster")
    llm = LLMDeployment.parse(stored(world))
    model = model_status(llm, InspectedModel(COMMIT, shape_from_config(config))).to_json()
    place = (kinds.LLM_DEPLOYMENT, "team", "a")
    world.api.change(place, "operator", lambda obj: obj["status"].update(model=model))
    return world
