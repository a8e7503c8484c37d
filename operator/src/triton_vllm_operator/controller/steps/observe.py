"""Reconcile step: the state of the children, with the further facts that it takes to explain it."""

from __future__ import annotations

from dataclasses import dataclass, field

from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.kinds import Key, Object
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.controller import ttl_cache
from triton_vllm_operator.controller.cluster import ClusterView
from triton_vllm_operator.controller.gpu_usage import GPUUsage
from triton_vllm_operator.controller.ttl_cache import TTLCache
from triton_vllm_operator.kube import observe
from triton_vllm_operator.kube.errors import Forbidden
from triton_vllm_operator.observed.gpu_shortage import GPUUse
from triton_vllm_operator.observed.observation import Observation


@dataclass
class Observer:
    """Observes LLMDeployments. Its only state is what it has read last of nodes and pods that hold GPUs."""

    nodes: TTLCache[list[Object]] = field(default_factory=ttl_cache.nodes)
    gpu_usage: GPUUsage = field(default_factory=GPUUsage)

    async def observe(self, cluster: ClusterView, llm: LLMDeployment, now: str) -> Observation:
        """The state of the LLMDeployment's Deployment and pods, as the watches have it. `now`: RFC 3339 time."""

        async def gpu_use() -> GPUUse | None:
            return await self.gpu_use(cluster, llm)

        deployment = cluster.stores[kinds.DEPLOYMENT].get(llm.namespace, llm.name)
        pods = cluster.children(kinds.POD, Key(llm.namespace, llm.name))
        return await observe.observation(cluster.client, llm, deployment, pods, gpu_use, now)

    async def gpu_use(self, cluster: ClusterView, llm: LLMDeployment) -> GPUUse | None:
        """Which pods hold the GPUs; None where the operator may not list nodes."""
        try:
            nodes = await self.nodes.get(cluster)
        except Forbidden:
            return None
        return await self.gpu_usage.use(cluster, llm, nodes)
