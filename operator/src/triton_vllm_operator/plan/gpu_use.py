"""Which pods hold the GPUs that a pod of an LLMDeployment may use, and which priority would preempt enough of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from heapq import nsmallest
from typing import Any

from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.capacity import ClassUsage, GPUPod, allocatable_gpus, is_dra_only, usage_by_class
from triton_vllm_operator.observed.gpu_shortage import MAX_NAMED_USERS, ClassOfGPUs, GPUUse, GPUUser
from triton_vllm_operator.plan.gpu_selection import schedulable_nodes


def gpu_use(
    llm: LLMDeployment, nodes: Sequence[Mapping[str, Any]], gpu_pods: Iterable[GPUPod], *, complete: bool
) -> GPUUse:
    """The GPUs of each class, the free ones, and the pods that hold the others.

    Args:
        nodes: Node objects of the cluster.
        gpu_pods: pods on these nodes that hold GPUs.
        complete: whether these are all of them.
    """
    resource, held = llm.spec.resources.gpu.resource_name, list(gpu_pods)
    schedulable = schedulable_nodes(llm, nodes)
    uses = usage_by_class(schedulable, held, resource)
    me = (llm.namespace, llm.name, resource)
    return GPUUse(
        resource=resource,
        offered=sum(allocatable_gpus(node, resource) for node in nodes),
        largest_node=max((allocatable_gpus(node, resource) for node in schedulable), default=0),
        classes=[_class_of_gpus(use) for use in uses],
        yields=min((at for use in uses if (at := _preemptible_priority(llm, use)) is not None), default=None),
        by_dra=sum(allocatable_gpus(node, resource) for node in schedulable if is_dra_only(node, resource)),
        complete=complete,
        own=sum(1 for one in held if (one.namespace, one.deployment, one.resource) == me),
        room=sum(free // llm.gpus_per_pod for use in uses for free in use.free.values()),
    )


def _class_of_gpus(use: ClassUsage) -> ClassOfGPUs:
    held: Counter[tuple[str, str, str, int]] = Counter()
    for one in use.pods:
        kind, name = ("LLMDeployment", one.deployment) if one.deployment else ("pod", one.pod)
        held[kind, one.namespace, name, one.priority] += one.gpus
    biggest = nsmallest(MAX_NAMED_USERS, held.items(), key=lambda item: (-item[1], item[0]))
    named = [GPUUser(f"{kind} {space}/{name}", gpus, priority) for (kind, space, name, priority), gpus in biggest]
    return ClassOfGPUs(
        product=use.product,
        count=use.count,
        free=sum(use.free.values()),
        most_free=max(use.free.values()),
        users=named,
        more=len(held) - len(named),
        used_by_more=sum(held.values()) - sum(one.gpus for one in named),
    )


def _preemptible_priority(llm: LLMDeployment, use: ClassUsage) -> int | None:
    """The lowest priority such that one node has room for a pod without the pods of this priority and lower ones.

    Pods of the same LLMDeployment do not count: preempting them would not help.
    """
    own = (llm.namespace, llm.name)
    room = {name: free - llm.gpus_per_pod for name, free in use.free.items()}
    for holder in sorted(use.pods, key=lambda holder: holder.priority):
        if (holder.namespace, holder.deployment) != own:
            room[holder.node] += holder.gpus
            if room[holder.node] >= 0:
                return holder.priority
    return None
