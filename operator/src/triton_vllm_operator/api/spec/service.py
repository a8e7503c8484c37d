"""`spec.service`: the Services and the PodDisruptionBudget."""

from typing import Literal

from triton_vllm_operator.api.schema import Model, field


class ServicePorts(Model):
    """Which ports the Services publish besides HTTP."""

    grpc: bool = field(True, description="Publish the KServe v2 gRPC port, 8001.")
    metrics: bool = field(True, description="Publish the Prometheus metrics port, 8002.")


class DisruptionBudgetSpec(Model):
    """The PodDisruptionBudget of the pods."""

    enabled: bool = field(True, description="Whether a PodDisruptionBudget is made.")
    max_unavailable: int = field(1, ge=0, description="Pods that an eviction may take away at the same time.")


class ServiceSpec(Model):
    """How clients inside the cluster reach the pods."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = field("ClusterIP", description="Type of the Service.")
    annotations: dict[str, str] = field({}, description="Annotations of the Service.")
    ports: ServicePorts = field(ServicePorts(), description="Which ports are published besides HTTP, 8000.")
    disruption_budget: DisruptionBudgetSpec = field(
        DisruptionBudgetSpec(), description="The PodDisruptionBudget of the pods."
    )
