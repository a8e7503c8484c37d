"""How many more pods there are free GPUs for, without those that others are about to take."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from triton_vllm_operator.api.kinds import Key
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.controller.cluster import ClusterView
from triton_vllm_operator.controller.steps.observe import Observer
from triton_vllm_operator.observed.gpu_shortage import GPUUse

_RESERVED_S = 30.0
"""How long a GPU counts as taken by a pod that has no node yet."""


@dataclass(frozen=True, slots=True)
class _Reserved:
    resource: str
    pods: int
    until: float


@dataclass
class FreeGPUs:
    """The GPUs that are free.

    Its only state is which LLMDeployments are about to take some, so that two of them do not both count on one. After a
    restart of the operator they may: a rollout's pod then takes the GPU of an old one, and one of autoscaling waits.
    """

    observer: Observer
    _reserved: dict[tuple[Key, str], _Reserved] = field(default_factory=dict)

    def reserve(self, key: Key, what: str, llm: LLMDeployment, pods: int = 1) -> None:
        """Count GPUs as taken for a while, unless they are already. `what`: of the LLMDeployment is about to."""
        until = asyncio.get_running_loop().time() + _RESERVED_S
        resource = llm.spec.resources.gpu.resource_name
        self._reserved.setdefault((key, what), _Reserved(resource, pods, until))

    def release(self, key: Key, what: str) -> None:
        """The pods have their GPUs, or need none any more."""
        self._reserved.pop((key, what), None)

    async def room(self, cluster: ClusterView, llm: LLMDeployment) -> tuple[int | None, GPUUse | None]:
        """Pods for which GPUs are free now, None where no node is known on which one could run; and who holds the GPUs.

        Raises:
            KubeError: of the lists.
        """
        use = await self.observer.gpu_use(cluster, llm)
        if use is None or use.largest_node == 0:
            return None, use
        now, own = asyncio.get_running_loop().time(), Key(llm.namespace, llm.name)
        self._reserved = {key: one for key, one in self._reserved.items() if one.until > now}
        others = (one for (key, _), one in self._reserved.items() if key != own and one.resource == use.resource)
        return max(use.room - sum(one.pods for one in others), 0), use
