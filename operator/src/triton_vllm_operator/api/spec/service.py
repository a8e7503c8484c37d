"""`spec.service`: the Services and the PodDisruptionBudget."""

from typing import Literal

from triton_vllm_operator.api.schema import Model, field


class ServicePorts(Model):
    """Ports of the Services in addition to HTTP, 8000."""

    grpc: bool = field(True, description="Publish the KServe v2 gRPC port, 8001. Default: true.")
    metrics: bool = field(True, description="Publish the Prometheus metrics port, 8002. Default: true.")


class DisruptionBudgetSpec(Model):
    """The PodDisruptionBudget of the pods."""

    enabled: bool = field(True, description="Create a PodDisruptionBudget. Default: true.")
    max_unavailable: int = field(
        1, ge=0, description="Maximum number of pods that are unavailable because of evictions. Default: 1."
    )


class ServiceSpec(Model):
    """The Service of the pods and its PodDisruptionBudget."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = field(
        "ClusterIP", description="Type of the Service. Default: ClusterIP."
    )
    annotations: dict[str, str] = field({}, description="Annotations of the Service.")
    ports: ServicePorts = field(ServicePorts(), description="Ports to publish in addition to HTTP, 8000.")
    disruption_budget: DisruptionBudgetSpec = field(
        DisruptionBudgetSpec(), description="The PodDisruptionBudget of the pods."
    )
