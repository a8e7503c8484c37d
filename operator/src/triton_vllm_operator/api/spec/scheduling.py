"""`spec.scheduling`: on which nodes pods run."""

from typing import Annotated, Any

from triton_vllm_operator.api.schema import Model, embedded, field


class SchedulingSpec(Model):
    """Where pods may run, in the words of a pod's spec."""

    node_selector: dict[str, str] = field({}, description="Labels that a node must have.")
    tolerations: list[Annotated[dict[str, Any], embedded("V1Toleration")]] = field(
        [], description="Taints that pods tolerate. The taint of the GPU resource name is always tolerated."
    )
    affinity: Annotated[dict[str, Any], embedded("V1Affinity")] | None = field(
        description="Affinity of the pods, as core/v1 Affinity."
    )
    topology_spread_constraints: list[Annotated[dict[str, Any], embedded("V1TopologySpreadConstraint")]] = field(
        [], description="How pods spread over zones or nodes. An absent labelSelector selects this deployment's pods."
    )
    priority_class_name: str | None = field(max_length=253, description="PriorityClass of the pods.")
    runtime_class_name: str | None = field(max_length=253, description="RuntimeClass of the pods.")
    scheduler_name: str | None = field(max_length=253, description="Scheduler that places the pods.")
