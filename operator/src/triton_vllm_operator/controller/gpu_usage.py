"""Which pods hold the GPUs, computed once for all LLMDeployments that need the same of the same lists."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from triton_vllm_operator.api.kinds import Object
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.capacity import GPUPod
from triton_vllm_operator.controller import ttl_cache
from triton_vllm_operator.controller.cluster import ClusterView
from triton_vllm_operator.controller.ttl_cache import TTLCache
from triton_vllm_operator.kube.gpu_inventory import Held
from triton_vllm_operator.observed.gpu_shortage import GPUUse
from triton_vllm_operator.plan.gpu_use import gpu_use

Lists = tuple[Sequence[Object], Held, Sequence[GPUPod]]


@dataclass
class GPUUsage:
    """The pods that hold GPUs, and results computed from them: with 1,000 nodes and 10,000 pods one takes 30 ms."""

    others: TTLCache[Held] = field(default_factory=ttl_cache.held)
    own: TTLCache[list[GPUPod]] = field(default_factory=ttl_cache.held_by_own)
    _lists: Lists | None = None
    _results: dict[Hashable, GPUUse] = field(default_factory=dict)

    async def use(self, cluster: ClusterView, llm: LLMDeployment, nodes: Sequence[Object]) -> GPUUse:
        """Which pods hold the GPUs of these nodes on which a pod of the LLMDeployment may land."""
        lists = (nodes, await self.others.get(cluster), await self.own.get(cluster))
        if self._lists is None or any(new is not old for new, old in zip(lists, self._lists, strict=True)):
            self._lists, self._results = lists, {}
        key = _cache_key(llm, lists[2])
        if key not in self._results:
            pods = [*lists[2], *lists[1].pods]
            self._results[key] = gpu_use(llm, nodes, pods, complete=lists[1].complete)
        return self._results[key]


def _cache_key(llm: LLMDeployment, own: Sequence[GPUPod]) -> Hashable:
    """Everything of an LLMDeployment that changes the result; its name does only where it holds GPUs itself."""
    gpu, me = llm.spec.resources.gpu, (llm.namespace, llm.name)
    selector = frozenset(llm.spec.scheduling.node_selector.items())
    holds = any((holder.namespace, holder.deployment) == me for holder in own)
    return gpu.resource_name, gpu.product, selector, llm.gpus_per_pod, me if holds else None
