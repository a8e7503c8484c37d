"""Which pods use the GPUs of each class."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from triton_vllm_operator.api import quantity
from triton_vllm_operator.api.names import INSTANCE_LABEL
from triton_vllm_operator.capacity.gpus.nodes import WHOLE_GPU, Node, nodes_by_class


@dataclass(frozen=True, slots=True)
class GPUPod:
    """A pod on a node, with its request of one extended resource.

    Attributes:
        namespace: of the pod.
        pod: its name.
        resource: the extended resource.
        gpus: how many of it the pod requests.
        priority: the pod's priority.
        deployment: name of its LLMDeployment; "" for other pods.
        node: the node that it runs on.
    """

    namespace: str
    pod: str
    resource: str
    gpus: int
    priority: int
    deployment: str
    node: str


@dataclass(frozen=True, slots=True)
class ClassUsage:
    """The GPUs of one class and the pods that use them.

    Attributes:
        product: "" for GPUs of unknown memory.
        count: GPUs on all nodes.
        free: node -> GPUs that no known pod requests.
        pods: the pods on these nodes.
    """

    product: str
    count: int
    free: Mapping[str, int]
    pods: tuple[GPUPod, ...]


def usage_by_class(nodes: Iterable[Node], pods: Iterable[GPUPod], resource: str = WHOLE_GPU) -> tuple[ClassUsage, ...]:
    """Return the usage of the nodes' GPUs by class, in the order of `gpu_classes`; an unknown class comes last."""
    on: dict[str, list[GPUPod]] = {}
    for pod in pods:
        if pod.resource == resource:
            on.setdefault(pod.node, []).append(pod)
    grouped = sorted(nodes_by_class(nodes, resource).items(), key=lambda item: (-item[0][1], item[0][0]))
    return tuple(
        ClassUsage(
            product=product,
            count=sum(gpu.count for _, gpu in members),
            free={name: max(gpu.count - sum(pod.gpus for pod in on.get(name, [])), 0) for name, gpu in members},
            pods=tuple(pod for name, _ in members for pod in on.get(name, [])),
        )
        for (product, _), members in grouped
    )


def gpu_pods(pods: Iterable[Mapping[str, Any]]) -> Iterator[GPUPod]:
    """Yield what Pod objects on nodes request of extended resources; pods that have ended use nothing."""
    for pod in pods:
        meta, spec = pod.get("metadata") or {}, pod.get("spec") or {}
        if not spec.get("nodeName") or (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}:
            continue
        for resource, requested in sorted(extended_requests(spec).items()):
            yield GPUPod(
                namespace=str(meta.get("namespace", "")),
                pod=str(meta.get("name", "")),
                resource=resource,
                gpus=requested,
                priority=int(spec.get("priority") or 0),
                deployment=str((meta.get("labels") or {}).get(INSTANCE_LABEL, "")),
                node=str(spec["nodeName"]),
            )


def extended_requests(spec: Mapping[str, Any]) -> dict[str, int]:
    """Return extended resource -> how many a pod's spec requests, as the scheduler counts.

    That is what runs together: the containers and the sidecars (init containers that are restarted always); or an init
    container with the sidecars before it, if that is more.
    """
    together: Counter[str] = Counter()
    maximum: Counter[str] = Counter()
    for container in spec.get("initContainers") or []:
        requested = _of_container(container)
        maximum |= together + requested
        if container.get("restartPolicy") == "Always":
            together += requested
    for container in spec.get("containers") or []:
        together += _of_container(container)
    return dict(maximum | together)


def _of_container(container: Mapping[str, Any]) -> Counter[str]:
    resources = container.get("resources") or {}
    amounts = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    counts = ((name, quantity.whole_number(amount)) for name, amount in amounts.items() if "/" in name)
    return Counter({name: count for name, count in counts if count})
