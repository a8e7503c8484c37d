"""Models, a node with GPUs and views of a planned LLMDeployment, for the tests against an API server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.apiserver.controlplane import ControlPlane
from tests.apiserver.gpus import node_there
from tests.apiserver.view import Object, View
from tests.builders.deployments import H100, LLAMA_8B, LLAMA_70B, node
from triton_vllm_operator.capacity import shape_from_config
from triton_vllm_operator.plan.inspection_protocol import InspectedModel

SMALL = InspectedModel("c" * 40, shape_from_config(LLAMA_8B))


LARGE = InspectedModel("d" * 40, shape_from_config(LLAMA_70B))


ONE_GPU = {"tensorParallelSize": 1}
"""Settings with which LARGE fits no GPU."""


@contextmanager
def gpu_node(plane: ControlPlane, namespace: str) -> Iterator[View]:
    """A namespace in a cluster with one node of eight H100."""
    with node_there(plane, f"gpu-{namespace}", node(H100)):
        yield View(plane, namespace)


def fits(view: View, name: str = "a") -> tuple[str, str]:
    found = view.condition(name, "Fits")
    return found.get("status", ""), found.get("reason", "")


def status(view: View, name: str = "a") -> Object:
    found: Object = (view.get("llm", name) or {}).get("status", {})
    return found
