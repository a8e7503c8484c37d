"""The typed `status` of an LLMDeployment: the source of its part of the CRD."""

from typing import Literal

from pydantic import Field

from triton_vllm_operator.api.schema import Model, field


class ConditionStatus(Model):
    """A condition per the Kubernetes API conventions."""

    type: str = Field(max_length=316, description="Name of the condition, for example Ready.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether the condition holds.")
    reason: str = Field(
        min_length=1,
        max_length=1024,
        pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
        description="Why, in one CamelCase word.",
    )
    message: str = Field(max_length=32768, description="Why, in a sentence, with what to do about it.")
    observed_generation: int = field(0, ge=0, description="metadata.generation that this condition is about.")
    last_transition_time: str = Field(
        description="When `status` last changed.", json_schema_extra={"format": "date-time"}
    )


class EndpointsStatus(Model):
    """Addresses inside the cluster."""

    http: str | None = field(description="Base URL of the KServe v2 HTTP protocol and of /generate.")
    grpc: str | None = field(description="HOST:PORT of the KServe v2 gRPC protocol.")
    metrics: str | None = field(description="URL of the Prometheus metrics of one pod behind the Service.")


class LLMDeploymentStatus(Model):
    """What is true now, written by the operator alone."""

    observed_generation: int = field(0, ge=0, description="metadata.generation that this status is about.")
    conditions: list[ConditionStatus] = field(
        [],
        description="Ready, Available, Reconciling, Stalled and SecurityAdvisory.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    replicas: int = field(0, ge=0, description="Pods that exist.")
    ready_replicas: int = field(0, ge=0, description="Pods that are ready to serve.")
    updated_replicas: int = field(0, ge=0, description="Pods of the newest configuration.")
    selector: str | None = field(description="Label selector of the pods, for the scale subresource.")
    model_name: str | None = field(description="Served model name.")
    gpus_per_replica: int | None = field(ge=0, description="GPUs that one pod holds.")
    release: str | None = field(description="Triton release of the serving image.")
    image: str | None = field(description="Serving image.")
    endpoints: EndpointsStatus | None = field(description="Addresses inside the cluster.")
