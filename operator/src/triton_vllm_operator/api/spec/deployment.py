"""The whole `spec`, and the LLMDeployment that carries it."""

from typing import Any, Self

from pydantic import Field

from triton_vllm_operator.api.autoconfig import AutoConfig
from triton_vllm_operator.api.schema import Model, cel, field
from triton_vllm_operator.api.spec.autoscaling import AutoscalingSpec
from triton_vllm_operator.api.spec.engine import EngineSpec
from triton_vllm_operator.api.spec.model import ModelSpec
from triton_vllm_operator.api.spec.planning import PlanningSpec
from triton_vllm_operator.api.spec.pod_template import PodTemplateSpec
from triton_vllm_operator.api.spec.resources import ResourcesSpec
from triton_vllm_operator.api.spec.rollout import RolloutSpec
from triton_vllm_operator.api.spec.sampling import SamplingSpec
from triton_vllm_operator.api.spec.scheduling import SchedulingSpec
from triton_vllm_operator.api.spec.server import ServerSpec
from triton_vllm_operator.api.spec.service import ServiceSpec


class LLMDeploymentSpec(Model):
    """The desired state: one model, served by Triton and vLLM."""

    model_config = Model.model_config | {
        "json_schema_extra": cel(
            (
                "!has(self.service) || !has(self.service.ports) "
                "|| !has(self.service.ports.http) || self.service.ports.http "
                "|| !has(self.service.ports.grpc) || self.service.ports.grpc "
                "|| (has(self.server) && has(self.server.openAI) && has(self.server.openAI.enabled) "
                "&& self.server.openAI.enabled)",
                "clients have no port for requests. Set service.ports.http or service.ports.grpc, or enable "
                "server.openAI",
            ),
        )
    }

    model: ModelSpec = Field(description="The model to serve, and its served name.")
    engine: EngineSpec = field(
        EngineSpec(),
        description="Arguments of the vLLM engine. Fields that are not set have vLLM's defaults, unless described "
        "otherwise.",
    )
    sampling: SamplingSpec = field(
        SamplingSpec(),
        description="Default sampling parameters, and named sets of them. The values of a request take precedence over "
        "those of its profile, and these over the defaults.",
    )
    server: ServerSpec = field(ServerSpec(), description="Settings of the Triton server.")
    resources: ResourcesSpec = field(ResourcesSpec(), description="Compute resources per pod.")
    replicas: int = field(
        1,
        ge=0,
        le=1000,
        description="Number of pods. Each has its own engine and GPUs. With autoscaling, the number until its first "
        "decision. Default: 1.",
    )
    autoscaling: AutoscalingSpec | None = field(
        description="Have the operator set the number of pods, by what the pods report. A HorizontalPodAutoscaler or "
        "KEDA on the scale subresource is for LLMDeployments without it."
    )
    rollout: RolloutSpec = field(
        RolloutSpec(), description="How pods of a new revision replace those of the previous one."
    )
    scheduling: SchedulingSpec = field(SchedulingSpec(), description="Scheduling constraints of the pods.")
    pod_template: PodTemplateSpec = field(PodTemplateSpec(), description="Additions to the pods.")
    service: ServiceSpec = field(ServiceSpec(), description="The Service of the pods and its PodDisruptionBudget.")
    planning: PlanningSpec = field(
        PlanningSpec(), description="Whether the operator plans the model's GPU memory before it creates pods."
    )


class LLMDeployment(Model):
    """An LLMDeployment as read from the API server: its identity and its typed spec."""

    name: str
    namespace: str
    uid: str
    generation: int
    deleting: bool
    spec: LLMDeploymentSpec
    chosen: AutoConfig | None = None
    scaled: int | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)

    @classmethod
    def parse(cls, obj: dict[str, Any]) -> Self:
        """Parse a Kubernetes object.

        Raises:
            pydantic.ValidationError: the spec is invalid, or has fields that this version of the operator does not
                know.
        """
        meta = obj["metadata"]
        return cls(
            name=meta["name"],
            namespace=meta["namespace"],
            uid=meta["uid"],
            generation=meta.get("generation", 0),
            deleting="deletionTimestamp" in meta,
            labels=meta.get("labels") or {},
            annotations=meta.get("annotations") or {},
            scaled=_scaled(obj.get("status")),
            spec=LLMDeploymentSpec.model_validate(obj.get("spec") or {}),
        )

    def with_chosen(self, chosen: AutoConfig) -> Self:
        """The same with what was chosen for fields that the spec leaves open. What the spec says wins."""
        engine = self.spec.engine
        open_fields = {name: value for name, value in chosen.values.items() if getattr(engine, name) is None}
        spec = self.spec.model_copy(update={"engine": engine.model_copy(update=open_fields)})
        return self.model_copy(update={"spec": spec, "chosen": chosen})

    def with_scaled(self, replicas: int) -> Self:
        """The same where the operator's autoscaling has decided on a number of pods."""
        return self.model_copy(update={"scaled": replicas})

    @property
    def replicas(self) -> int:
        """The number of pods that should run: `spec.replicas`, or what the operator's autoscaling has decided."""
        if self.spec.autoscaling is None:
            return self.spec.replicas
        return self.spec.autoscaling.within(self.spec.replicas if self.scaled is None else self.scaled)

    @property
    def model_name(self) -> str:
        """The served model name."""
        return self.spec.model.name or self.name

    @property
    def gpus_per_pod(self) -> int:
        """GPUs per pod: tensor parallel size x pipeline parallel size."""
        return (self.spec.engine.tensor_parallel_size or 1) * self.spec.engine.pipeline_parallel_size


def _scaled(status: Any) -> int | None:
    """The last decision of the operator's autoscaling, of a status as read; None where there is none."""
    found = ((status or {}).get("autoscaling") or {}).get("desiredReplicas")
    return found if isinstance(found, int) else None
