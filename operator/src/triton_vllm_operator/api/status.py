"""The typed `status` of an LLMDeployment: the source of its part of the CRD."""

from typing import Any, Literal

from pydantic import Field

from triton_vllm_operator.api.autoconfig import Chosen
from triton_vllm_operator.api.conditions import ConditionType
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
    open_ai: str | None = field(alias="openAI", description="Base URL of OpenAI's protocol, where it is on.")


class ModelStatus(Model):
    """What the inspection read of the model. Nothing is read again for the same `uri`, `revision` and claim."""

    uri: str = Field(description="spec.model.uri that was read.")
    revision: str | None = field(description="Revision that was asked for.")
    commit: str | None = field(description="Commit of the repository that was read.")
    architecture: str = Field(description="First of `architectures` in config.json, the engine's model class.")
    model_type: str | None = field(description="`model_type` in config.json.")
    dtype: str | None = field(description="Data type of the checkpoint.")
    quantization: str | None = field(description="Quantization method of the checkpoint, by vLLM's name.")
    layers: int = Field(description="Decoder layers.")
    attention_heads: int | None = field(description="Query heads.")
    kv_heads: int | None = field(description="Key and value heads.")
    vocab_size: int | None = field(description="Rows of the embedding table.")
    max_model_len: int | None = field(description="Longest sequence in tokens that the model itself allows.")
    weights_bytes: int | None = field(description="Bytes of all tensors; absent when there are no safetensors headers.")
    bytes_by_dtype: dict[str, int] | None = field(description="Bytes of the tensors by safetensors data type.")
    shape: str = Field(
        max_length=4096, description="The whole shape, as docs/fit.md says: its JSON form, zlib, base64."
    )


class IntervalStatus(Model):
    """Bytes that cannot be known exactly before the engine runs."""

    low: int = Field(description="At least.")
    expected: int = Field(description="Most likely.")
    high: int = Field(description="At most.")


class PerGPUStatus(Model):
    """What one GPU's memory is spent on, in bytes, on the fullest rank."""

    total_bytes: int = Field(description="Memory of the GPU.")
    requested_bytes: int = Field(description="gpuMemoryUtilization of it.")
    weights_bytes: int = Field(description="Weights of one rank.")
    non_torch_bytes: IntervalStatus = Field(description="CUDA context and libraries.")
    activation_bytes: IntervalStatus = Field(description="Peak of the profiling run.")
    cuda_graph_bytes: IntervalStatus = Field(description="CUDA graphs.")
    kv_cache_bytes: IntervalStatus = Field(description="What is left for the KV cache.")


class SuggestionStatus(Model):
    """A change of the spec that was planned and fits."""

    changes: dict[str, Any] = Field(
        description="Field below spec -> its new value.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )
    message: str = Field(description="The change in words.")
    verdict: str = Field(description="Verdict with the change.")
    concurrency_at_max_model_len: float = Field(description="Full-length requests at once with the change.")


class PlanStatus(Model):
    """What was planned before pods could hold GPUs, as `kubectl llm plan -o json` prints it."""

    verdict: Literal["Fits", "Tight", "DoesNotFit"] = Field(description="Whether the model fits the GPUs.")
    reason: str = Field(description="Why, in one CamelCase word.")
    message: str = Field(description="Why, in a sentence.")
    gpu: str = Field(description="Product of the GPUs that were planned for.")
    engine_version: str = Field(description="vLLM version whose arithmetic was used.")
    gpus_per_replica: int = Field(description="tensorParallelSize x pipelineParallelSize.")
    per_gpu: PerGPUStatus = Field(alias="perGPU", description="What one GPU's memory is spent on.")
    block_size: int = Field(description="Tokens in one block of the KV cache.")
    blocks: int = Field(description="Blocks of the KV cache.")
    kv_cache_tokens: int = Field(description="Tokens that the KV cache holds.")
    max_model_len: int = Field(description="Longest sequence in tokens.")
    concurrency_at_max_model_len: float = Field(description="Requests of maxModelLen tokens at once before queueing.")
    suggestions: list[SuggestionStatus] = field([], description="Changes that fit, smallest first.")


class PerGPUActual(Model):
    """What the engine measured while it started, in bytes, on the rank with the least KV cache."""

    requested_bytes: int | None = field(description="gpuMemoryUtilization of the GPU's memory: the sum of the others.")
    weights_bytes: int | None = field(description="Weights of one rank.")
    non_torch_bytes: int | None = field(description="What its libraries took besides.")
    activation_bytes: int | None = field(description="Peak of the profiling run.")
    cuda_graph_bytes: int | None = field(description="Estimate of the CUDA graphs, as far as it was set aside.")
    kv_cache_bytes: int | None = field(description="What was left or given for the KV cache.")


class ActualStatus(Model):
    """What the engine got, as it says itself; of the pods with the newest configuration, the one with the least."""

    pod: str = Field(description="Pod whose engine said it.")
    restarts: int = Field(description="Restarts of that pod's server when it said it.")
    engine_version: str = Field(description="vLLM version that runs.")
    device: Literal["cuda", "cpu"] = Field(description="What the engine runs on.")
    per_gpu: PerGPUActual | None = field(
        alias="perGPU", description="What was measured of one rank's memory; absent where nothing was."
    )
    block_size: int = Field(description="Tokens in one block of the KV cache.")
    blocks: int = Field(description="Blocks of the KV cache.")
    kv_cache_tokens: int = Field(description="Tokens that the KV cache holds.")
    max_model_len: int = Field(description="Longest sequence in tokens.")
    concurrency_at_max_model_len: float = Field(description="Requests of maxModelLen tokens at once before queueing.")


class LLMDeploymentStatus(Model):
    """What is true now, written by the operator alone."""

    observed_generation: int = field(0, ge=0, description="metadata.generation that this status is about.")
    conditions: list[ConditionStatus] = field(
        [],
        description=" ".join(f"{kind}: {kind.meaning}" for kind in sorted(ConditionType)),
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
    model: ModelStatus | None = field(description="What was read of the model.")
    plan: PlanStatus | None = field(description="What the model needs and whether it fits.")
    actual: ActualStatus | None = field(description="What the engine got, to be compared with status.plan.")
    chosen: Chosen | None = field(
        description="What was chosen for fields of spec.engine that the spec leaves open. It stands until the model, "
        "spec.engine, spec.resources.gpu, spec.scheduling.nodeSelector or the asked revision changes."
    )
