"""The nodes with their GPUs, and the pods that hold those, listed on demand.

Neither is watched: the heartbeats of nodes never end, and most pods of a cluster do not belong to LLMDeployments.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from sys import intern
from typing import Any

from triton_vllm_operator.api import kinds
from triton_vllm_operator.api.kinds import Object
from triton_vllm_operator.capacity import GPUPod, gpu_pods
from triton_vllm_operator.capacity.gpus import dra
from triton_vllm_operator.kube.client import Client
from triton_vllm_operator.kube.errors import Forbidden, KubeError, NotFound

log = logging.getLogger(__name__)

_LISTS = 8  # of pods at a time
_LIST_S = 20.0  # of one namespace or of all: 10,000 pods take 4 s
# Selected on the server: pods that have ended or wait for a node hold nothing.
_HOLDING = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"


async def nodes(client: Client) -> list[Object]:
    """Every node, with the GPUs that it publishes by DRA.

    Of each page only what is used is kept (`trimmed`), so that memory does not grow with the size of the nodes.
    ResourceSlices that are not served (before Kubernetes 1.34) or may not be listed are left out; labels still count.

    Raises:
        KubeError: of the list of nodes.
    """
    slices: list[dra.SliceDevices] = []
    try:
        async for page in client.pages(kinds.RESOURCE_SLICE, field_selector=f"spec.driver={dra.DRIVER}"):
            slices += [one for item in page.items if (one := dra.read_slice(item)) is not None]
    except (NotFound, Forbidden) as error:
        log.debug("ResourceSlices cannot be listed: %s", error)
    published = {node for one in slices for node, _, _ in one.devices}
    found: list[Object] = []
    async for page in client.pages(kinds.NODE):
        found += [trimmed(node, published) for node in page.items]
    return dra.with_devices(found, slices)


def trimmed(node: Mapping[str, Any], published: Container[str] = ()) -> Object:
    """A node with its name, its extended resources and, where it has any, its labels.

    Args:
        published: names of the nodes that publish GPUs by DRA.
    """
    meta, allocatable = node["metadata"], (node.get("status") or {}).get("allocatable") or {}
    extended = _interned({name: count for name, count in allocatable.items() if "/" in name})
    labels = _interned(meta.get("labels") or {}) if extended or meta["name"] in published else {}
    return {"metadata": {"name": meta["name"], "labels": labels}, "status": {"allocatable": extended}}


def _interned(strings: Mapping[str, Any]) -> dict[str, str]:
    """The same strings, of which thousands of nodes share one copy each."""
    return {intern(name): intern(str(value)) for name, value in strings.items()}


@dataclass(frozen=True, slots=True)
class Held:
    """Pods that hold extended resources; `complete`: of all namespaces."""

    pods: tuple[GPUPod, ...]
    complete: bool


async def held(client: Client, scopes: Iterable[str | None], label_selector: str = "") -> Held:
    """The pods that hold GPUs in some namespaces; None is all.

    Of each page only these pods' GPUs are kept, so that memory does not grow with the size of the pods. What cannot be
    listed in time is left out, and the result is not complete then: it serves for explanations only. Namespaces are
    listed side by side, so that a slow one does not delay the others.
    """
    at_a_time = asyncio.Semaphore(_LISTS)

    async def listed(namespace: str | None) -> tuple[list[GPUPod], bool]:
        found: list[GPUPod] = []
        try:
            async with at_a_time, asyncio.timeout(_LIST_S):
                pages = client.pages(kinds.POD, namespace, label_selector=label_selector, field_selector=_HOLDING)
                async for page in pages:
                    found += gpu_pods(page.items)
        except (KubeError, TimeoutError) as error:
            why = error if isinstance(error, KubeError) else f"not within {_LIST_S:.0f} s"
            log.info("the pods in namespace %s cannot be listed: %s", namespace or "*", why)
            return found, False
        return found, namespace is None

    lists = await asyncio.gather(*(listed(namespace) for namespace in scopes))
    return Held(tuple(pod for found, _ in lists for pod in found), any(complete for _, complete in lists))
