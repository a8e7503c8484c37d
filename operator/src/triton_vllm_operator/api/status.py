"""The typed `status` of an LLMDeployment: the source of its part of the CRD."""

from typing import Any, Literal, Self

from pydantic import Field, ValidationError

from triton_vllm_operator.api.autoconfig import AutoConfig
from triton_vllm_operator.api.conditions import ConditionType
from triton_vllm_operator.api.schema import Model, field


class _Recorded(Model):
    """A part of the status that the operator reads again."""

    @classmethod
    def recorded(cls, part: object) -> Self | None:
        """Return the part that a status holds; None if it has none, or one of another version of the operator."""
        try:
            return cls.model_validate(part)
        except ValidationError:
            return None


class ConditionStatus(Model):
    """A condition, as in the Kubernetes API conventions."""

    type: str = Field(max_length=316, description="Type of the condition, for example Ready.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether the condition holds.")
    reason: str = Field(
        min_length=1,
        max_length=1024,
        pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
        description="Reason for the status, as one CamelCase word.",
    )
    message: str = Field(max_length=32768, description="Details for people, with the fix if there is one.")
    observed_generation: int = field(0, ge=0, description="metadata.generation for which the condition was computed.")
    last_transition_time: str = Field(
        description="Time of the last change of `status`.", json_schema_extra={"format": "date-time"}
    )


class EndpointsStatus(Model):
    """Addresses inside the cluster."""

    http: str | None = field(description="Base URL of the KServe v2 HTTP protocol and of /generate.")
    grpc: str | None = field(description="HOST:PORT of the KServe v2 gRPC protocol.")
    metrics: str | None = field(description="URL of the Prometheus metrics of one of the pods behind the Service.")
    open_ai: str | None = field(alias="openAI", description="Base URL of the OpenAI API, if it is enabled.")


class OperatorStatus(_Recorded):
    """The operator that reconciles the LLMDeployment. Others leave it alone while this one answers.

    Its fields are flat: server-side apply leaves an empty object behind where all fields of one are taken away.
    """

    name: str = Field(max_length=512, description="Its Lease, as NAMESPACE/NAME.")
    contender: str | None = field(
        max_length=512, description="Lease of another operator that would reconcile the LLMDeployment."
    )
    asked: str | None = field(
        max_length=64,
        description="Time at which the contender asked last whether the operator is alive.",
        json_schema_extra={"format": "date-time"},
    )
    answered: str | None = field(
        max_length=64,
        description="Value of asked that the operator has answered last.",
        json_schema_extra={"format": "date-time"},
    )

    @property
    def question(self) -> tuple[str, str] | None:
        """The contender, and the time at which it asked; None where there is none."""
        return (self.contender, self.asked) if self.contender and self.asked else None


class ModelStatus(_Recorded):
    """What the inspection pod read of the model. It is not read again for the same `uri` and `revision`."""

    uri: str = Field(description="spec.model.uri that was read, without a revision.")
    revision: str | None = field(description="Requested revision.")
    commit: str | None = field(description="Commit that the revision resolved to.")
    architecture: str = Field(description="First entry of `architectures` in config.json: vLLM's model class.")
    model_type: str | None = field(description="`model_type` in config.json.")
    dtype: str | None = field(description="Data type of the checkpoint.")
    quantization: str | None = field(description="Quantization method of the checkpoint, as vLLM names it.")
    layers: int = Field(description="Number of decoder layers.")
    attention_heads: int | None = field(description="Number of attention (query) heads.")
    kv_heads: int | None = field(description="Number of key-value heads.")
    vocab_size: int | None = field(description="Vocabulary size: rows of the embedding table.")
    max_model_len: int | None = field(description="Maximum sequence length in tokens that the model supports.")
    weights_bytes: int | None = field(description="Size of all tensors in bytes. Not set without safetensors headers.")
    bytes_by_dtype: dict[str, int] | None = field(
        description="Size of the tensors in bytes, per safetensors data type."
    )
    shape: str = Field(
        max_length=4096, description="The whole shape, for the operator: JSON, zlib, base64. See docs/fit.md."
    )


class IntervalStatus(Model):
    """An estimate in bytes of what is known exactly only when the engine runs."""

    low: int = Field(description="Lower bound in bytes.")
    expected: int = Field(description="Expected value in bytes.")
    high: int = Field(description="Upper bound in bytes.")


class PerGPUStatus(Model):
    """Use of one GPU's memory in bytes, on the rank that needs the most."""

    total_bytes: int = Field(description="Total memory of the GPU.")
    requested_bytes: int = Field(description="Memory that the engine may use: gpuMemoryUtilization x totalBytes.")
    weights_bytes: int = Field(description="Weights of one rank.")
    non_torch_bytes: IntervalStatus = Field(description="CUDA context and libraries, outside PyTorch's allocator.")
    activation_bytes: IntervalStatus = Field(description="Activations: the peak of vLLM's profiling run.")
    cuda_graph_bytes: IntervalStatus = Field(description="CUDA graphs.")
    kv_cache_bytes: IntervalStatus = Field(description="Memory that remains for the KV cache.")


class HostPlanStatus(Model):
    """What one replica takes of its host, in bytes: memory that counts against the container's limit, and files."""

    verdict: Literal["Fits", "Tight", "DoesNotFit"] | None = field(
        description="Whether the container's limits hold the estimates. Tight: the highest estimate is above a limit."
    )
    message: str | None = field(description="Reason for the verdict, with the field to set, for people.")
    limit_bytes: int | None = field(description="Memory limit of the container: memory plus sharedMemory.")
    memory_bytes: IntervalStatus = Field(description="Memory of the container: the sum of the terms below.")
    processes_bytes: IntervalStatus = Field(description="Processes of the server and the engine.")
    loading_bytes: IntervalStatus = Field(description="Copies of tensors while the weights are loaded.")
    kv_offload_bytes: IntervalStatus = Field(description="KV cache in pinned memory of the host.")
    multimodal_cache_bytes: IntervalStatus = Field(description="Caches of processed images in the processes.")
    shared_memory_bytes: IntervalStatus = Field(description="Content of /dev/shm.")
    storage_bytes: IntervalStatus = Field(
        description="Ephemeral storage: a downloaded model, compile caches, logs. Not a part of memoryBytes."
    )


class SuggestionStatus(Model):
    """A change of the spec with which the model fits."""

    changes: dict[str, Any] = Field(
        description="New values by field, relative to spec.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )
    message: str = Field(description="The change, described for people.")
    verdict: str = Field(description="Verdict of the plan with the change.")
    concurrency_at_max_model_len: float = Field(
        description="Concurrent requests of maxModelLen tokens with the change."
    )


class PlanStatus(_Recorded):
    """The memory plan that was made before pods were created, as `kubectl llm plan -o json` prints it."""

    verdict: Literal["Fits", "Tight", "DoesNotFit"] = Field(
        description="Whether the model fits the GPUs. Tight: it may or may not fit."
    )
    reason: str = Field(description="Reason for the verdict, as one CamelCase word.")
    message: str = Field(description="Reason for the verdict, for people.")
    gpu: str = Field(description="Product name of the GPUs of the plan.")
    engine_version: str = Field(description="vLLM version of the plan.")
    gpus_per_replica: int = Field(description="GPUs per pod: tensorParallelSize x pipelineParallelSize.")
    per_gpu: PerGPUStatus = Field(alias="perGPU", description="Use of one GPU's memory.")
    host: HostPlanStatus | None = field(description="Use of the host: memory of the container and its storage.")
    block_size: int = Field(description="Number of tokens per block of the KV cache.")
    blocks: int = Field(description="Number of blocks of the KV cache.")
    kv_cache_tokens: int = Field(description="Capacity of the KV cache in tokens.")
    max_model_len: int = Field(description="Maximum sequence length in tokens.")
    concurrency_at_max_model_len: float = Field(
        description="Number of concurrent requests of maxModelLen tokens before requests queue."
    )
    suggestions: list[SuggestionStatus] = field(
        [], description="Changes with which the model fits, the smallest first."
    )


class PerGPUActual(Model):
    """What the engine measured at its start, in bytes, on the rank with the smallest KV cache."""

    requested_bytes: int | None = field(
        description="Memory that the engine may use: gpuMemoryUtilization x the GPU's memory, the sum of the others."
    )
    weights_bytes: int | None = field(description="Weights of one rank.")
    non_torch_bytes: int | None = field(description="Memory of libraries, outside PyTorch's allocator.")
    activation_bytes: int | None = field(description="Activations: the peak of vLLM's profiling run.")
    cuda_graph_bytes: int | None = field(
        description="CUDA graphs: the engine's estimate, if it reserved memory for them."
    )
    kv_cache_bytes: int | None = field(description="Memory of the KV cache.")


class HostActual(Model):
    """Memory of the server's container, in bytes. Used memory is what the kernel cannot take back: processes, shared
    memory, and the kernel's own memory for them."""

    limit_bytes: int | None = field(description="Memory limit of the container.")
    load_peak_bytes: int | None = field(description="Highest use until the engine was loaded.")
    first_token_bytes: int | None = field(description="Use after the first token.")
    current_bytes: int | None = field(description="Use at the time of the report.")
    shared_bytes: int | None = field(description="The part of currentBytes in /dev/shm and other memory volumes.")
    page_cache_bytes: int | None = field(
        description="Contents of files in addition to currentBytes, which the kernel takes back when memory is short."
    )


class ActualStatus(Model):
    """Settings and memory that the engine reports. Of the pods with the newest configuration, the one with the smallest
    KV cache is shown."""

    pod: str = Field(description="Pod whose engine reported this.")
    restarts: int = Field(description="Restart count of that pod's server at the time of the report.")
    engine_version: str = Field(description="vLLM version of the engine.")
    device: Literal["cuda", "cpu"] = Field(description="Device type of the engine.")
    per_gpu: PerGPUActual | None = field(
        alias="perGPU", description="Measured use of one rank's memory. Not set if the engine measured none."
    )
    host: HostActual | None = field(
        description="Measured memory of the server's container. Not set if the kernel does not report it."
    )
    block_size: int = Field(description="Number of tokens per block of the KV cache.")
    blocks: int = Field(description="Number of blocks of the KV cache.")
    kv_cache_tokens: int = Field(description="Capacity of the KV cache in tokens.")
    max_model_len: int = Field(description="Maximum sequence length in tokens.")
    concurrency_at_max_model_len: float = Field(
        description="Number of concurrent requests of maxModelLen tokens before requests queue."
    )


class RolloutStatus(Model):
    """The rollout of the newest revision: what will happen before it happens, and how far it is."""

    revision: int = Field(description="Number of the revision of spec.")
    deployed_revision: int = Field(
        description="Number of the revision that pods are created from. Lower than `revision` after an undo."
    )
    from_revision: int | None = field(description="Number of the revision that served before, during a rollout.")
    changes: str | None = field(max_length=4096, description="Changes of the spec that made the newest revision.")
    step: Literal["Complete", "Surging", "Replacing", "Finishing", "Held", "Paused", "Failed", "Undoing", "Undone"] = (
        Field(
            description="Complete: all pods run the revision. Surging, Replacing: old pods are replaced, with or "
            "without a further GPU. Finishing: no old pod is left, and not all new ones have served. Held: no GPU is "
            "free, and no pod may be replaced without one. Paused: by spec.rollout.paused. Failed: the revision failed "
            "and nothing was undone. Undoing, Undone: the previous revision is being or was restored."
        )
    )
    reason: str | None = field(max_length=4096, description="Why this step.")
    pods_to_replace: int = field(0, ge=0, description="Number of pods that run another revision.")
    updated_pods: int = field(0, ge=0, description="Number of pods of the revision.")
    ready_pods: int = field(0, ge=0, description="Number of ready pods of any revision.")
    min_ready_pods: int | None = field(
        ge=0, description="Number of ready pods below which the rollout itself does not go."
    )
    start_seconds: int | None = field(
        ge=0, description="Measured seconds from a pod's creation to its readiness. Not set: not known."
    )
    expected_gap_seconds: int | None = field(
        ge=0, description="Seconds with fewer ready pods than desiredReplicas to expect. Not set: not known."
    )
    gpu_seconds: int | None = field(
        ge=0, description="GPU-seconds of pods that start or are replaced, to expect. Not set: not known."
    )
    deadline: str | None = field(
        max_length=64,
        description="Time at which the revision has failed unless a further pod is ready.",
        json_schema_extra={"format": "date-time"},
    )


class ScalingMetricStatus(Model):
    """A target of spec.autoscaling, and what the pods report."""

    name: str = Field(max_length=64, description="Name of the target, as in spec.autoscaling.target.")
    current: float | None = field(
        description="Average of the ready pods at the last decision; it is written again only when it differs by a "
        "quarter of the target, at most once per minute. Not set: no pod reports it."
    )
    target: float = Field(description="The target.")


class AutoscalingStatus(_Recorded):
    """The last decision of spec.autoscaling."""

    desired_replicas: int = Field(ge=1, description="Number of pods that should run.")
    current_replicas: int = field(0, ge=0, description="Number of pods.")
    metrics: list[ScalingMetricStatus] = field([], description="The targets, and what the pods report.")
    decided_by: str | None = field(max_length=64, description="Target that asks for the most pods.")
    limited_by: list[
        Literal["StabilizationWindow", "Policy", "MinReplicas", "MaxReplicas", "MissingMetrics", "Rollout", "GPUs"]
    ] = field(
        [],
        description="What kept the number from what the targets ask for. StabilizationWindow, Policy: "
        "spec.autoscaling.behavior. MissingMetrics: nothing is scaled down while no pod reports a target. Rollout: "
        "nothing is scaled down while pods are replaced. GPUs: no GPU is free for a further pod.",
    )
    last_scale_time: str | None = field(
        max_length=64,
        description="Time at which the number was changed last.",
        json_schema_extra={"format": "date-time"},
    )


class LLMDeploymentStatus(Model):
    """The observed state. Only the operator writes it."""

    observed_generation: int = field(0, ge=0, description="metadata.generation for which the status was computed.")
    conditions: list[ConditionStatus] = field(
        [],
        description=" ".join(f"{kind}: {kind.meaning}" for kind in sorted(ConditionType)),
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    operator: OperatorStatus | None = field(description="The operator that reconciles the LLMDeployment.")
    desired_replicas: int | None = field(
        ge=0, description="Number of pods that should run: spec.replicas, or what spec.autoscaling has decided."
    )
    replicas: int = field(0, ge=0, description="Number of pods.")
    ready_replicas: int = field(0, ge=0, description="Number of ready pods.")
    updated_replicas: int = field(0, ge=0, description="Number of pods with the newest configuration.")
    selector: str | None = field(description="Label selector of the pods, for the scale subresource.")
    model_name: str | None = field(description="Served model name.")
    gpus_per_replica: int | None = field(ge=0, description="GPUs per pod.")
    release: str | None = field(description="Release of the serving image.")
    image: str | None = field(description="Serving image that the pods run.")
    endpoints: EndpointsStatus | None = field(description="Addresses inside the cluster.")
    model: ModelStatus | None = field(
        description="Facts about the model, from its config.json and safetensors headers."
    )
    plan: PlanStatus | None = field(description="The memory plan: what the model needs, and whether it fits.")
    actual: ActualStatus | None = field(description="What the engine reports, for comparison with status.plan.")
    rollout: RolloutStatus | None = field(description="The rollout of the newest revision.")
    autoscaling: AutoscalingStatus | None = field(description="The last decision of spec.autoscaling.")
    chosen: AutoConfig | None = field(
        description="Values that the operator chose for fields of spec.engine that are not set. They stay until the "
        "model or its requested revision, spec.engine, spec.resources.gpu or spec.scheduling.nodeSelector changes."
    )
