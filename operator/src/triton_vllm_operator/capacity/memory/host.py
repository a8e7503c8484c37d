"""The account of the server's container: CPU memory, /dev/shm and ephemeral storage that one replica takes.

Every term is low, expected and high. Low is what a start certainly takes, so only a low end above a limit refuses. What
was measured and what was read in the engine's sources is in `docs/host.md`; the other intervals are wide.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from packaging.version import Version

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.status import HostPlanStatus, IntervalStatus
from triton_vllm_operator.capacity.memory.engine_settings import EngineSettings, rules_of
from triton_vllm_operator.capacity.memory.fit_checks import Verdict
from triton_vllm_operator.capacity.memory.overhead import GIB, MIB, Interval
from triton_vllm_operator.capacity.model.shape import ModelShape

NONE = Interval(0, 0, 0)
#: tritonserver with its launcher, the process of the backend with the front ends, and what starts the engine core.
_FRONT = (0.7, 1.0, 2.5)
#: A worker, in the engine core or in a process of its own: torch, vLLM, and on a GPU CUDA's own memory on the host.
_WORKER_ON_CPU = (0.25, 0.55, 1.2)
_WORKER_ON_GPU = (0.4, 1.4, 4.0)
#: Rings of messages between the engine core and its workers: of scheduled steps, and one of each worker's answers.
#: Their pages count when they are first written.
_STEP_RING, _ANSWER_RING = 160 * MIB, 240 * MIB
#: Buffers of NCCL in /dev/shm per rank: few where GPUs reach each other directly, else all that they exchange.
_NCCL = (1 * MIB, 34 * MIB, 256 * MIB)
#: The python backend's own region, which grows with the requests in flight.
_TRITON_REGION = (1 * MIB, 2 * MIB, 64 * MIB)
#: The engine keeps processed images twice: in the front end and in the engine core.
_MULTIMODAL_CACHES = 2
#: From this version on the KV cache on the host is a file in /dev/shm of the size that is set; up to the other, pinned
#: memory, which torch rounds up to the next power of two per tensor.
_OFFLOAD_SHARED, _OFFLOAD_PINNED = Version("0.27.1"), Version("0.25.1")
#: Compile caches, CUDA kernels, logs and temporary files.
_CACHES = (0.0, 1.0, 6.0)


@dataclass(frozen=True, slots=True)
class HostLimits:
    """What the pod gives the container, in bytes.

    Attributes:
        memory: `spec.resources.memory`, without /dev/shm.
        shared: size of /dev/shm.
        storage: `spec.resources.ephemeralStorage`; None where it is not limited.
    """

    memory: int
    shared: int
    storage: int | None = None


@dataclass(frozen=True, slots=True)
class HostAccount:
    """What one replica takes of its host, in bytes.

    Attributes:
        processes: of the server and the engine.
        loading: copies of tensors while weights are loaded; the files themselves are page cache, which does not count.
        offload: KV cache in pinned memory. multimodal: caches of processed images.
        shared: what is in /dev/shm; `shared_peak` is the space that it must have.
        storage: files of the container.
    """

    processes: Interval
    loading: Interval
    offload: Interval
    multimodal: Interval
    shared: Interval
    storage: Interval

    @property
    def memory(self) -> Interval:
        """Memory that counts against the container's limit, /dev/shm included."""
        return self.processes + self.loading + self.offload + self.multimodal + self.shared


@dataclass(frozen=True, slots=True)
class HostJudgement:
    """Whether the account fits the limits, and what to write."""

    verdict: Verdict
    reason: Reason
    message: str


def host_account(shape: ModelShape, settings: EngineSettings, *, downloads: bool = False) -> HostAccount:
    """Account of one replica under these settings.

    Args:
        downloads: whether the weights are stored in the container's ephemeral storage.
    """
    pinned, in_shm = _offload(settings)
    cache, cache_in_shm = _multimodal(shape, settings)
    weights = sum(size for _, size in shape.bytes_by_dtype) if downloads else 0
    return HostAccount(
        processes=_processes(settings),
        loading=_loading(shape, settings),
        offload=pinned,
        multimodal=cache,
        shared=_shared(settings) + in_shm + cache_in_shm,
        storage=_gib(_CACHES) + Interval(weights, weights, weights),
    )


def judge_host(account: HostAccount, limits: HostLimits) -> HostJudgement:
    """Judge an account by the limits of the container: DoesNotFit only where the low end is above one."""
    memory, limit = account.memory, limits.memory + limits.shared
    if account.shared.low > limits.shared:
        value = _round_up(account.shared.high)
        text = (
            f"/dev/shm needs {_text(account.shared)} and has {limits.shared / GIB:.2f}; "
            f"set spec.resources.sharedMemory: {value}"
        )
        return HostJudgement("DoesNotFit", Reason.SHARED_MEMORY_TOO_SMALL, text)
    if memory.low > limit:
        value = _round_up(memory.high - limits.shared)
        text = (
            f"the container needs {_text(memory)} of memory and its limit is {limit / GIB:.2f} with /dev/shm; "
            f"set spec.resources.memory: {value}"
        )
        return HostJudgement("DoesNotFit", Reason.HOST_MEMORY_TOO_SMALL, text)
    if limits.storage is not None and account.storage.low > limits.storage:
        value = _round_up(account.storage.high)
        text = (
            f"the container stores {_text(account.storage)} and ephemeralStorage is {limits.storage / GIB:.2f}; "
            f"set spec.resources.ephemeralStorage: {value}"
        )
        return HostJudgement("DoesNotFit", Reason.EPHEMERAL_STORAGE_TOO_SMALL, text)
    return _unless_tight(account, limits)


def host_status(account: HostAccount, limits: HostLimits | None) -> HostPlanStatus:
    """Return the account as `status.plan.host` holds it, judged by the limits where they are known."""
    judged = judge_host(account, limits) if limits is not None else None
    return HostPlanStatus(
        verdict=judged.verdict if judged else None,
        message=judged.message if judged else None,
        limit_bytes=limits.memory + limits.shared if limits else None,
        memory_bytes=_interval(account.memory),
        processes_bytes=_interval(account.processes),
        loading_bytes=_interval(account.loading),
        kv_offload_bytes=_interval(account.offload),
        multimodal_cache_bytes=_interval(account.multimodal),
        shared_memory_bytes=_interval(account.shared),
        storage_bytes=_interval(account.storage),
    )


def _unless_tight(account: HostAccount, limits: HostLimits) -> HostJudgement:
    found = []
    memory = account.memory
    if account.shared.high > limits.shared:
        found.append(f"spec.resources.sharedMemory: {_round_up(account.shared.high)}")
    if memory.high > limits.memory + limits.shared:
        found.append(f"spec.resources.memory: {_round_up(memory.high - limits.shared)}")
    if limits.storage is not None and account.storage.high > limits.storage:
        found.append(f"spec.resources.ephemeralStorage: {_round_up(account.storage.high)}")
    limit = (limits.memory + limits.shared) / GIB
    text = f"the container needs {_text(memory)} of {limit:.2f} GiB, {_text(account.shared)} of it in /dev/shm"
    if not found:
        return HostJudgement("Fits", Reason.FITS, text)
    return HostJudgement("Tight", Reason.TIGHT, f"{text}; {', '.join(found)} covers the highest estimate")


def _processes(settings: EngineSettings) -> Interval:
    worker = _gib(_WORKER_ON_CPU if settings.device == "cpu" else _WORKER_ON_GPU)
    return _gib(_FRONT) + Interval(*(settings.gpus * size for size in (worker.low, worker.expected, worker.high)))


def _loading(shape: ModelShape, settings: EngineSettings) -> Interval:
    """One copy of the largest tensor per worker; with the strategy "eager" the file that it is in."""
    table = shape.embedding.rows * shape.embedding.row_bytes if shape.embedding is not None else 0
    if settings.loads_eagerly:
        stored = sum(size for _, size in shape.bytes_by_dtype)
        return Interval(0, settings.gpus * min(stored, 5 * GIB), settings.gpus * max(stored, table))
    return Interval(0, table // 2, settings.gpus * table)


def _offload(settings: EngineSettings) -> tuple[Interval, Interval]:
    """The KV cache on the host in pinned memory, and in /dev/shm."""
    size = int(settings.kv_offload_gib * GIB)
    if not size:
        return NONE, NONE
    version = rules_of(settings).version
    exact, rounded = Interval(int(0.98 * size), size, size + GIB), Interval(int(0.98 * size), int(1.5 * size), 2 * size)
    if version >= _OFFLOAD_SHARED:
        return NONE, exact
    if version <= _OFFLOAD_PINNED:
        return rounded, NONE
    return Interval(0, size, 2 * size), Interval(0, 0, size)


def _multimodal(shape: ModelShape, settings: EngineSettings) -> tuple[Interval, Interval]:
    """The caches of processed images in the processes, and in /dev/shm."""
    size = int(settings.mm_processor_cache_gb * GIB) if shape.multimodal else 0
    if settings.mm_cache_in_shm:
        return NONE, Interval(0, size // 2, size)
    return Interval(0, size // 2, _MULTIMODAL_CACHES * size), NONE


def _shared(settings: EngineSettings) -> Interval:
    region, ranks = Interval(*_TRITON_REGION), settings.gpus
    if ranks == 1:
        return region
    rings = Interval(MIB, 16 * MIB * ranks, _STEP_RING + _ANSWER_RING * ranks)
    nccl = NONE if settings.device == "cpu" else Interval(*(ranks * size for size in _NCCL))
    return region + rings + nccl


def _gib(values: tuple[float, float, float]) -> Interval:
    return Interval(*(int(value * GIB) for value in values))


def _interval(bytes_: Interval) -> IntervalStatus:
    return IntervalStatus(low=bytes_.low, expected=bytes_.expected, high=bytes_.high)


def _text(bytes_: Interval) -> str:
    return f"{bytes_.low / GIB:.2f} to {bytes_.high / GIB:.2f} GiB"


def _round_up(size: int) -> str:
    return f"{max(ceil(size / GIB), 1)}Gi"
