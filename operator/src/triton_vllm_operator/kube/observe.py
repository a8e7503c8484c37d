"""The state of an LLMDeployment's children, with the events and GPUs that explain why its pods do not start."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from triton_vllm_operator.api.kinds import Object
from triton_vllm_operator.api.spec import LLMDeployment
from triton_vllm_operator.desired import pod, repository
from triton_vllm_operator.kube.client import Client
from triton_vllm_operator.observed import needs
from triton_vllm_operator.observed import pods as pod_states
from triton_vllm_operator.observed.gpu_shortage import GPUUse
from triton_vllm_operator.observed.observation import Observation


async def observation(
    client: Client,
    llm: LLMDeployment,
    deployment: Object | None,
    pods: Sequence[Object],
    gpu_use: Callable[[], Awaitable[GPUUse | None]],
    now: str,
) -> Observation:
    """The observation of one LLMDeployment.

    Args:
        llm: with its automatic configuration.
        pods: its serving pods.
        gpu_use: which pods hold the GPUs; called only while a pod waits for one.
        now: RFC 3339 time.

    Raises:
        KubeError: where the events of a pod cannot be listed.
    """
    states = pod_states.read_all(pods, pod.CONTAINER)
    over = pod_states.read_over(pods, pod.CONTAINER)
    found = Observation(llm, deployment, states, repository.content_hash(llm), pods_over=over, now=now)
    if needs.waits_for_gpu(found):
        found = replace(found, gpu_use=await gpu_use())
    creating = needs.pods_in_creation(found)
    events = await asyncio.gather(*(client.events_of(llm.namespace, one.uid) for one in creating))
    errors = {one.name: needs.mount_error(about) for one, about in zip(creating, events, strict=True)}
    warnings = {one.name: needs.creation_error(about) for one, about in zip(creating, events, strict=True)}
    return replace(found, mount_errors=errors, creation_errors=warnings)
