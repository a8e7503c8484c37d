"""The typed `spec` of an LLMDeployment.

Field names are vLLM's, Triton's and Kubernetes' own words in camelCase. Descriptions become `kubectl explain`.
"""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field

from triton_vllm_operator.api import names
from triton_vllm_operator.api.autoconfig import Chosen
from triton_vllm_operator.api.schema import Model, Quantity, cel, embedded, field

HF_URI_PATTERN = (
    r"^hf://[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}(@[A-Za-z0-9][A-Za-z0-9._/-]{0,199})?$"
)
PVC_URI_PATTERN = r"^pvc://[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?(/[A-Za-z0-9._-]+)*/?$"
SERVED_NAME_PATTERN = "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"
_NAME_MESSAGE = "name holds letters, digits, '.', '_' and '-', starts and ends with a letter or digit, and has no '..'"
_URI_MESSAGE = (
    "uri must be hf://ORG/REPO[@REVISION] or pvc://CLAIM[/PATH], for example hf://meta-llama/Llama-2-7b-chat-hf"
)


def _uri(text: str) -> str:
    """The API server refuses other texts by the CRD's rules; this holds where an older CRD is still installed."""
    if ".." in text or not (re.fullmatch(HF_URI_PATTERN, text) or re.fullmatch(PVC_URI_PATTERN, text)):
        raise ValueError(_URI_MESSAGE)
    return text


def _served_name(text: str) -> str:
    """It becomes a directory of the model repository: never a path."""
    if ".." in text or not re.fullmatch(SERVED_NAME_PATTERN, text):
        raise ValueError(_NAME_MESSAGE)
    return text


class SecretKeyRef(Model):
    """A key of a Secret in the LLMDeployment's namespace."""

    name: str = Field(min_length=1, max_length=253, description="Name of the Secret.")
    key: str = field("token", min_length=1, max_length=253, description="Key inside the Secret.")


class ModelSpec(Model):
    """Which model is served, under which name."""

    model_config = Model.model_config | {
        "json_schema_extra": cel(
            (
                "!has(self.tokenSecretRef) || self.uri.startsWith('hf://')",
                "tokenSecretRef is read only for a hf:// uri: remove it, or use hf://ORG/REPO",
            ),
            (
                "!has(self.revision) || (self.uri.startsWith('hf://') && !self.uri.contains('@'))",
                "revision goes with a hf:// uri that has no @REVISION of its own: give it in one place",
            ),
        )
    }

    uri: Annotated[str, AfterValidator(_uri)] = Field(
        max_length=512,
        description="Where the model is: hf://ORG/REPO[@REVISION] for a Hugging Face repository, "
        "pvc://CLAIM[/PATH] for a directory in a PersistentVolumeClaim of the same namespace.",
        json_schema_extra=cel(
            (f"self.matches(r'{HF_URI_PATTERN}') || self.matches(r'{PVC_URI_PATTERN}')", _URI_MESSAGE),
            ("!self.contains('..')", "uri must not contain '..'"),
        ),
    )
    name: Annotated[str, AfterValidator(_served_name)] | None = field(
        max_length=63,
        description="Name under which the model is served, in /v2/models/NAME/generate. Default: metadata.name.",
        json_schema_extra=cel(
            (
                f"self.matches('{SERVED_NAME_PATTERN}') && !self.contains('..')",
                _NAME_MESSAGE,
            )
        ),
    )
    revision: str | None = field(
        min_length=1,
        max_length=200,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$",
        description="Branch, tag or commit of the Hugging Face repository; the same as @REVISION in the uri.",
    )
    token_secret_ref: SecretKeyRef | None = field(
        description="Secret with the Hugging Face token of a gated or private repository. "
        "The pod reads it; the operator does not."
    )


class EngineSpec(Model):
    """Arguments of the vLLM engine. Absent means vLLM's own default, unless a field says otherwise."""

    model_config = Model.model_config | {
        "json_schema_extra": cel(
            (
                "!has(self.maxNumBatchedTokens) || !has(self.maxNumSeqs) "
                "|| self.maxNumBatchedTokens >= self.maxNumSeqs",
                "maxNumBatchedTokens must be at least maxNumSeqs: each running sequence needs one token a step",
            ),
        )
    }

    gpu_memory_utilization: float = field(
        0.9,
        gt=0,
        le=1,
        description="Part of each GPU's memory that the engine may use, above 0 and at most 1.",
    )
    tensor_parallel_size: int | None = field(
        ge=1,
        le=64,
        description="GPUs over which each layer is split. A pod holds tensorParallelSize x pipelineParallelSize GPUs. "
        "Default: the fewest on which the model fits, see status.chosen; 1 where that is not known.",
    )
    pipeline_parallel_size: int = field(
        1, ge=1, le=64, description="Groups of GPUs over which the layers are spread, one after the other."
    )
    max_model_len: int | None = field(
        ge=1,
        description="Longest sequence in tokens, prompt and answer together. Default: the model's own limit, or the "
        "longest that fits, see status.chosen.",
    )
    dtype: Literal["auto", "half", "float16", "bfloat16", "float", "float32"] | None = field(
        description="Data type of weights and activations."
    )
    quantization: str | None = field(
        min_length=1,
        max_length=63,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        description="Quantization method by vLLM's name, for example awq, gptq or fp8. Default: the model's own.",
    )
    kv_cache_dtype: str | None = field(
        min_length=1,
        max_length=63,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        description="Data type of the KV cache by vLLM's name, for example auto or fp8.",
    )
    block_size: int | None = field(ge=1, le=4096, description="Tokens in one block of the KV cache.")
    max_num_seqs: int | None = field(ge=1, description="Most sequences in one step of the engine.")
    max_num_batched_tokens: int | None = field(ge=1, description="Most tokens in one step of the engine.")
    enable_prefix_caching: bool | None = field(
        description="Whether requests that start with the same tokens share KV cache blocks."
    )
    enable_chunked_prefill: bool | None = field(
        description="Whether a long prompt is computed in parts between steps of other requests."
    )
    enforce_eager: bool | None = field(
        description="True starts faster and runs without compilation and CUDA graphs, at lower speed."
    )
    seed: int | None = field(ge=0, description="Seed of the random numbers used in sampling.")
    load_format: str | None = field(
        min_length=1,
        max_length=63,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        description="How weights are read, by vLLM's name, for example auto or safetensors.",
    )
    extra_args: dict[str, Any] = field(
        {},
        max_length=128,
        description="Any other engine argument by vLLM's own name, for example {enable_log_requests: true}. "
        "An argument that has a field of its own here is refused.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )


class SamplingValues(Model):
    """Sampling parameters, used where a request sets none. Absent: the model's generation_config, then vLLM's own."""

    temperature: float | None = field(
        ge=0, le=2, description="How much chance is in the choice of a token; 0 always takes the most likely one."
    )
    top_p: float | None = field(
        gt=0, le=1, description="Only the most likely tokens that together have this probability are chosen from."
    )
    top_k: int | None = field(ge=0, description="Only so many of the most likely tokens are chosen from; 0 for all.")
    min_p: float | None = field(
        ge=0,
        le=1,
        description="Tokens are left out that are less likely than this part of the most likely one.",
    )
    repetition_penalty: float | None = field(
        gt=0,
        description="Above 1 makes tokens of the prompt and the answer less likely, below 1 more likely.",
    )
    presence_penalty: float | None = field(
        ge=-2, le=2, description="Above 0 makes tokens that are in the answer already less likely."
    )
    frequency_penalty: float | None = field(
        ge=-2, le=2, description="Above 0 makes tokens less likely, the more often they are in the answer already."
    )
    max_tokens: int | None = field(
        ge=1,
        description="Longest answer in tokens. Where nothing says it: 16 in Triton's protocols, and in OpenAI's chat "
        "what is left of maxModelLen.",
    )
    min_tokens: int | None = field(
        ge=0, description="Shortest answer in tokens. Needs a maxTokens that is no smaller, here or in the defaults."
    )
    stop: list[Annotated[str, Field(min_length=1, max_length=256)]] = field(
        [], max_length=16, description="Texts that end the answer; they are no part of it."
    )
    seed: int | None = field(
        ge=0, description="Seed of the random numbers: the same request then gets the same answer."
    )


class SamplingProfile(SamplingValues):
    """Sampling parameters under a name."""

    name: str = Field(
        max_length=63,
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        description='Name that a request gives as "profile", in either protocol.',
    )


def _effective(name: str) -> str:
    """CEL: what the profile `p` says, else the defaults, else 0. An absent `sampling` is judged without `defaults`."""
    return f"(has(p.{name}) ? p.{name} : {_default(name)})"


def _default(name: str) -> str:
    return f"(has(self.defaults) && has(self.defaults.{name}) ? self.defaults.{name} : 0)"


class SamplingSpec(Model):
    """Sampling parameters of requests that set none. A request's own values win over its profile, the profile over the
    defaults, and those over the model's generation_config; both protocols obey them."""

    model_config = Model.model_config | {
        "json_schema_extra": cel(
            (
                f"{_default('minTokens')} <= {_default('maxTokens')}",
                "defaults: minTokens needs a maxTokens that is no smaller",
            ),
            (
                f"!has(self.profiles) || self.profiles.all(p, {_effective('minTokens')} <= {_effective('maxTokens')})",
                "profiles: minTokens needs a maxTokens that is no smaller, in the profile or in the defaults",
            ),
        )
    }

    defaults: SamplingValues = field(SamplingValues(), description="Used where neither request nor profile says more.")
    profiles: list[SamplingProfile] = field(
        [],
        max_length=32,
        description="Sets of values that a request names: profile: NAME in the body, in either protocol.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )

    @property
    def said(self) -> bool:
        """Whether there is anything in it."""
        return bool(self.profiles or self.defaults != SamplingValues())


class OpenAISpec(Model):
    """vLLM's own OpenAI server on port 9000, from the same engine."""

    enabled: bool = field(
        False, description="Whether the pods answer OpenAI's protocol, and the Service publishes port 9000 as openai."
    )
    api_key_secret_ref: SecretKeyRef | None = field(
        description="Secret with the key that clients must send as bearer token. Absent: no key is asked for. "
        "Health, report and Triton's protocols never ask for it."
    )
    extra_args: dict[str, Any] = field(
        {},
        max_length=64,
        description="Arguments of vLLM's server by vLLM's own name, for example "
        "{enable_auto_tool_choice: true, tool_call_parser: hermes}.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )


class LimitsSpec(Model):
    """What one request may ask for. More is refused with 400 before the engine sees it."""

    max_prompt_bytes: int | None = field(ge=1, description="Most bytes of text in a prompt. Default: 4194304 (4 MiB).")
    max_body_bytes: int | None = field(
        ge=1,
        description="Most bytes in the body of a request for OpenAI's protocol, images included. "
        "Default: 67108864 (64 MiB).",
    )
    max_n: int | None = field(ge=1, description="Most answers to one prompt (n). Default: 64.")
    max_list: int | None = field(
        ge=0, description="Most entries of stop, bad_words, logit_bias and other lists. Default: 1024."
    )
    max_logprobs: int | None = field(
        ge=0, description="Most log probabilities a token. Default: the engine's max_logprobs."
    )
    max_images: int | None = field(ge=0, description="Most images in a request of Triton's protocols. Default: 16.")


class ServerSpec(Model):
    """The Triton server around the engine."""

    image: str | None = field(
        min_length=1,
        max_length=512,
        pattern=r"^\S+$",
        description="Serving image. Default: the operator's own image; with a release YY.MM, NVIDIA's image of it.",
    )
    release: str | None = field(
        pattern=r"^([0-9]{2}\.(0[1-9]|1[0-2])|vllm-[0-9]+\.[0-9]+\.[0-9]+)$",
        description="Release of the serving image: YY.MM of NVIDIA's image, or vllm-X.Y.Z of the operator's own. "
        "Needed with an image whose tag does not name its release.",
    )
    log_level: Literal["Error", "Warning", "Info", "Verbose"] = field(
        "Info", description="What the server logs: Error, Warning and above, Info and above, or Verbose."
    )
    drain_seconds: int = field(
        60,
        ge=0,
        le=3600,
        description="Seconds that a stopping pod has to finish the requests that it has accepted.",
    )
    request_timeout_seconds: int | None = field(
        ge=1,
        le=86400,
        description="Longest time that one request may take, waiting included; then it ends with an error. It bounds "
        "what a plain generate costs whose client has gone. Default: no limit.",
    )
    limits: LimitsSpec = field(LimitsSpec(), description="What one request may ask for.")
    open_ai: OpenAISpec = field(
        OpenAISpec(),
        alias="openAI",
        description="OpenAI's protocol beside Triton's, from the same engine. Default: off.",
    )
    extra_args: list[Annotated[str, Field(min_length=3, max_length=1024, pattern=r"^--[a-z][a-z0-9-]*(=.*)?$")]] = (
        field(
            [],
            max_length=64,
            description="More tritonserver flags as --flag=value. Flags that the operator sets are refused.",
        )
    )


class GPUSpec(Model):
    """Which GPUs a pod asks for. How many follows from the engine's parallel sizes."""

    resource_name: str = field(
        "nvidia.com/gpu",
        max_length=253,
        pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
        description="Extended resource of the GPUs, for example nvidia.com/gpu or nvidia.com/mig-3g.40gb.",
    )
    product: str | None = field(
        min_length=1,
        max_length=63,
        pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
        description="Only nodes whose label nvidia.com/gpu.product has this value, for example NVIDIA-H100-80GB-HBM3.",
    )
    memory_gib: float | None = field(
        alias="memoryGiB",
        gt=0,
        le=4096,
        description="Memory of one GPU in GiB, for planning on nodes whose labels do not tell it.",
    )


class ResourcesSpec(Model):
    """Compute resources of each pod."""

    gpu: GPUSpec = field(GPUSpec(), description="Which GPUs a pod asks for.")
    cpu: Quantity = field("2", description="CPU request of a pod; no CPU limit is set.")
    memory: Quantity = field(
        "16Gi", description="Memory request and limit of a pod, without the shared memory, which is added to it."
    )
    shared_memory: Quantity = field(
        "2Gi", description="Size of /dev/shm, which the engine's workers use to talk to each other."
    )
    ephemeral_storage: Quantity | None = field(
        description="Ephemeral storage request and limit: room for a downloaded model and the compile caches."
    )


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


class PodTemplateSpec(Model):
    """A small typed set of additions to the pods."""

    labels: dict[str, str] = field(
        {},
        description="More labels for the pods. Labels of the operator are refused.",
        json_schema_extra=cel(
            (
                f"!self.exists(k, k.startsWith('{names.GROUP}/') || k.startsWith('app.kubernetes.io/'))",
                f"labels under {names.GROUP}/ and app.kubernetes.io/ belong to the operator",
            )
        ),
        max_length=64,
    )
    annotations: dict[str, str] = field(
        {},
        description="More annotations for the pods. Annotations of the operator are refused.",
        json_schema_extra=cel(
            (
                f"!self.exists(k, k.startsWith('{names.GROUP}/'))",
                f"annotations under {names.GROUP}/ belong to the operator",
            )
        ),
        max_length=64,
    )
    env: list[Annotated[dict[str, Any], embedded("V1EnvVar")]] = field(
        [],
        max_length=128,
        description="More environment variables of the server; they win over the operator's own.",
    )
    env_from: list[Annotated[dict[str, Any], embedded("V1EnvFromSource")]] = field(
        [], max_length=32, description="ConfigMaps and Secrets whose keys become environment variables of the server."
    )
    volumes: list["VolumeSpec"] = field([], max_length=32, description="More volumes of the pods.")
    volume_mounts: list[Annotated[dict[str, Any], embedded("V1VolumeMount")]] = field(
        [], max_length=32, description="Where the server sees the additional volumes."
    )
    image_pull_secrets: list[Annotated[dict[str, Any], embedded("V1LocalObjectReference")]] = field(
        [], max_length=16, description="Secrets for pulling the image."
    )
    service_account_name: str | None = field(
        max_length=253,
        description="ServiceAccount of the pods. Its token is never mounted. Default: the namespace's default one.",
    )


class VolumeSpec(Model):
    """One additional volume, from a source that belongs to the namespace."""

    model_config = Model.model_config | {
        "json_schema_extra": cel(
            (
                "[has(self.emptyDir), has(self.configMap), has(self.secret), has(self.persistentVolumeClaim)]"
                ".filter(x, x).size() == 1",
                "a volume has exactly one of emptyDir, configMap, secret and persistentVolumeClaim",
            ),
            (
                "!(self.name in ['repository', 'model', 'cache', 'shm', 'tmp'])",
                "the volume names repository, model, cache, shm and tmp belong to the operator",
            ),
        )
    }

    name: str = Field(
        max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", description="Name that volumeMounts refer to."
    )
    empty_dir: Annotated[dict[str, Any], embedded("V1EmptyDirVolumeSource")] | None = field(
        description="An empty directory that lives as long as the pod."
    )
    config_map: Annotated[dict[str, Any], embedded("V1ConfigMapVolumeSource")] | None = field(
        description="Keys of a ConfigMap as files."
    )
    secret: Annotated[dict[str, Any], embedded("V1SecretVolumeSource")] | None = field(
        description="Keys of a Secret as files."
    )
    persistent_volume_claim: Annotated[dict[str, Any], embedded("V1PersistentVolumeClaimVolumeSource")] | None = field(
        description="A PersistentVolumeClaim of the same namespace."
    )


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


class PlanningSpec(Model):
    """Whether the operator learns what the model needs before pods may hold GPUs."""

    mode: Literal["Enforce", "Advise", "Off"] = field(
        "Enforce",
        description="Enforce makes no pods for a model that cannot be loaded or does not fit the GPUs; "
        "Advise reads and chooses, and only says so in the conditions; Off neither reads the model nor plans.",
    )


class LLMDeploymentSpec(Model):
    """What is wanted: one model, served by Triton and vLLM."""

    model: ModelSpec = Field(description="Which model is served, under which name.")
    engine: EngineSpec = field(EngineSpec(), description="Arguments of the vLLM engine.")
    sampling: SamplingSpec = field(
        SamplingSpec(), description="Sampling parameters of requests that set none, and named sets of them."
    )
    server: ServerSpec = field(ServerSpec(), description="The Triton server around the engine.")
    resources: ResourcesSpec = field(ResourcesSpec(), description="Compute resources of each pod.")
    replicas: int = field(1, ge=0, le=1000, description="Number of pods. Each one holds its own engine and GPUs.")
    scheduling: SchedulingSpec = field(SchedulingSpec(), description="Where pods may run.")
    pod_template: PodTemplateSpec = field(PodTemplateSpec(), description="A small typed set of additions to the pods.")
    service: ServiceSpec = field(ServiceSpec(), description="How clients inside the cluster reach the pods.")
    planning: PlanningSpec = field(
        PlanningSpec(), description="Whether the operator learns what the model needs before pods may hold GPUs."
    )


class LLMDeployment(Model):
    """One LLMDeployment as read from the API server: its identity and its typed spec."""

    name: str
    namespace: str
    uid: str
    generation: int
    deleting: bool
    spec: LLMDeploymentSpec
    chosen: Chosen | None = None

    @classmethod
    def parse(cls, obj: dict[str, Any]) -> Self:
        """Read a Kubernetes object.

        Raises:
            pydantic.ValidationError: the spec holds what this version of the operator does not know.
        """
        meta = obj["metadata"]
        return cls(
            name=meta["name"],
            namespace=meta["namespace"],
            uid=meta["uid"],
            generation=meta.get("generation", 0),
            deleting="deletionTimestamp" in meta,
            spec=LLMDeploymentSpec.model_validate(obj.get("spec") or {}),
        )

    def with_chosen(self, chosen: Chosen) -> Self:
        """The same with what was chosen for fields that the spec leaves open. What the spec says wins."""
        engine = self.spec.engine
        open_fields = {name: value for name, value in chosen.values.items() if getattr(engine, name) is None}
        spec = self.spec.model_copy(update={"engine": engine.model_copy(update=open_fields)})
        return self.model_copy(update={"spec": spec, "chosen": chosen})

    @property
    def model_name(self) -> str:
        """The served model name."""
        return self.spec.model.name or self.name

    @property
    def gpus_per_pod(self) -> int:
        """GPUs that one pod holds: tensor parallel size x pipeline parallel size."""
        return (self.spec.engine.tensor_parallel_size or 1) * self.spec.engine.pipeline_parallel_size
