"""`spec.service`: the Services and the PodDisruptionBudget."""

from typing import Literal

from triton_vllm_operator.api.schema import Model, cel, field


class ServicePorts(Model):
    """Ports of the Services."""

    http: bool = field(
        True,
        description="Publish the HTTP port, 8000, on the Service for clients. It requires no key, and neither does "
        "gRPC: where clients have to use the key of spec.server.openAI, set both to false. Default: true.",
    )
    grpc: bool = field(True, description="Publish the KServe v2 gRPC port, 8001. Default: true.")
    metrics: bool = field(True, description="Publish the Prometheus metrics port, 8002. Default: true.")


class DisruptionBudgetSpec(Model):
    """The PodDisruptionBudget of the pods."""

    enabled: bool = field(True, description="Create a PodDisruptionBudget. Default: true.")
    max_unavailable: int = field(
        1,
        ge=0,
        description="Maximum number of pods that are unavailable because of evictions. 0 keeps a node with a ready pod "
        "from being drained. Default: 1.",
    )


class ServiceSpec(Model):
    """The Service of the pods and its PodDisruptionBudget."""

    model_config = Model.model_config | {
        "json_schema_extra": cel(
            (
                "(has(self.type) && self.type == 'LoadBalancer') "
                "|| !(has(self.loadBalancerClass) || has(self.loadBalancerSourceRanges))",
                "loadBalancerClass and loadBalancerSourceRanges need type: LoadBalancer",
            ),
        )
    }

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = field(
        "ClusterIP", description="Type of the Service. Default: ClusterIP."
    )
    annotations: dict[str, str] = field(
        {},
        description="Annotations of the Service for clients, for example for a cloud's load balancer. A change "
        "restarts no pod.",
    )
    load_balancer_class: str | None = field(
        min_length=1,
        max_length=253,
        description="Class of the load balancer, with type LoadBalancer. It cannot be changed. Default: the cluster's.",
    )
    load_balancer_source_ranges: list[str] = field(
        [], max_length=64, description="CIDRs from which the load balancer accepts clients. Default: all."
    )
    app_protocol: bool | None = field(
        description="Set appProtocol of the ports of the Service for clients. Some load balancers check the health of "
        "a port with appProtocol http by a request to /, which the server does not have. Default: false with type "
        "LoadBalancer, else true.",
    )
    ports: ServicePorts = field(ServicePorts(), description="Ports to publish.")
    disruption_budget: DisruptionBudgetSpec = field(
        DisruptionBudgetSpec(), description="The PodDisruptionBudget of the pods."
    )
