"""`spec.resources`: GPUs, CPU and memory per pod."""

from triton_vllm_operator.api.schema import Model, Quantity, field


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
