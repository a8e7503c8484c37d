"""`spec.scheduling`: on which nodes pods run."""

from typing import Annotated, Any

from triton_vllm_operator.api.schema import Model, embedded, field


class SchedulingSpec(Model):
    """Scheduling constraints of the pods, as in a pod's spec."""

    node_selector: dict[str, str] = field({}, description="Labels that a node must have to run a pod.")
    tolerations: list[Annotated[dict[str, Any], embedded("V1Toleration")]] = field(
        [], description="Taints that pods tolerate. A taint with the GPU resource name as key is always tolerated."
    )
    affinity: Annotated[dict[str, Any], embedded("V1Affinity")] | None = field(
        description="Node affinity, pod affinity and pod anti-affinity of the pods."
    )
    topology_spread_constraints: list[Annotated[dict[str, Any], embedded("V1TopologySpreadConstraint")]] = field(
        [],
        description="How pods spread across zones or nodes. labelSelector defaults to the pods of this LLMDeployment.",
    )
    priority_class_name: str | None = field(max_length=253, description="Name of the PriorityClass of the pods.")
    runtime_class_name: str | None = field(max_length=253, description="Name of the RuntimeClass of the pods.")
    scheduler_name: str | None = field(
        max_length=253, description="Name of the scheduler that places the pods. Default: default-scheduler."
    )
