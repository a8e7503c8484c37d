"""`spec.resources`: GPUs, CPU and memory per pod."""

from triton_vllm_operator.api.schema import Model, Quantity, field


class GPUSpec(Model):
    """The kind of GPU that pods request. Their number is tensorParallelSize x pipelineParallelSize of the engine."""

    resource_name: str = field(
        "nvidia.com/gpu",
        max_length=253,
        pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
        description="Extended resource of the GPUs, for example nvidia.com/mig-3g.40gb. Default: nvidia.com/gpu.",
    )
    product: str | None = field(
        min_length=1,
        max_length=63,
        pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
        description="Run only on nodes with this value of the label nvidia.com/gpu.product, for example "
        "NVIDIA-H100-80GB-HBM3.",
    )
    memory_gib: float | None = field(
        alias="memoryGiB",
        gt=0,
        le=4096,
        description="Memory per GPU in GiB, for planning on nodes that do not have it in their labels.",
    )


class ResourcesSpec(Model):
    """Compute resources per pod."""

    gpu: GPUSpec = field(GPUSpec(), description="The kind of GPU that pods request.")
    cpu: Quantity = field("2", description='CPU request per pod. Quote a fraction: "0.5" or 500m. Default: 2.')
    cpu_limit: Quantity | None = field(
        description="CPU limit per pod, for namespaces whose quota or LimitRange requires one. An engine that reaches "
        "it is slowed down. Default: no limit."
    )
    memory: Quantity = field(
        "16Gi", description="Memory request and limit per pod; sharedMemory is added to it. Default: 16Gi."
    )
    shared_memory: Quantity = field(
        "2Gi", description="Size of /dev/shm, through which the engine's workers communicate. Default: 2Gi."
    )
    ephemeral_storage: Quantity | None = field(
        description="Ephemeral storage request and limit per pod, for a downloaded model and the compile caches."
    )
