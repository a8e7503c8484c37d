"""What a serving pod reports: the engine report over HTTP, and the cause of a failed start as termination message."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Literal

Device = Literal["cuda", "cpu"]
DEVICES: Final = ("cuda", "cpu")


def json_key(field: str) -> str:
    """Return the JSON key of a field: `kv_cache_dtype` is `kvCacheDtype`."""
    first, *rest = field.split("_")
    return first + "".join(map(str.capitalize, rest))


def _measured(terms: object, keys: Mapping[str, str]) -> dict[str, int]:
    """Return those fields of `terms` that are not None. `keys`: name of a field -> its JSON key."""
    values = {key: getattr(terms, name) for name, key in keys.items()}
    return {key: value for key, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class MemoryTerms:
    """Terms of the memory budget in bytes, of the rank with the least KV cache; None: the engine did not measure it.

    `requested` less all others is `kv_cache`.

    Attributes:
        requested: share of the GPU's memory that the engine may use.
        non_torch: of CUDA and its libraries.
        activation: peak of the profiling run.
        cuda_graph: estimate, as far as it was set aside.
    """

    requested: int | None = None
    weights: int | None = None
    non_torch: int | None = None
    activation: int | None = None
    cuda_graph: int | None = None
    kv_cache: int | None = None

    def to_json(self) -> dict[str, int]:
        """Return the terms that were measured."""
        return _measured(self, MEMORY_KEYS)


MEMORY_KEYS: Final = {field.name: f"{json_key(field.name)}Bytes" for field in fields(MemoryTerms)}
"""Field of `MemoryTerms` to the key in the report's `perGPU` and in the status."""


@dataclass(frozen=True, slots=True)
class HostMemory:
    """Memory of the server's container in bytes; None: the kernel does not report it.

    `used` is what the kernel cannot take back: processes, shared memory, and the kernel's own memory for them.

    Attributes:
        limit: of the container; None also without one.
        load_peak: highest use until the engine was loaded.
        first_token: use after the first token.
        current: use when the report was made.
        shared: the part of `current` in /dev/shm and other memory volumes.
        page_cache: contents of files beside `current`, which the kernel takes back when memory is short.
    """

    limit: int | None = None
    load_peak: int | None = None
    first_token: int | None = None
    current: int | None = None
    shared: int | None = None
    page_cache: int | None = None

    def to_json(self) -> dict[str, int]:
        """Return what was measured."""
        return _measured(self, HOST_KEYS)


HOST_KEYS: Final = {field.name: f"{json_key(field.name)}Bytes" for field in fields(HostMemory)}
"""Field of `HostMemory` to the key in the report's `host` and in the status."""


@dataclass(frozen=True, slots=True)
class EngineReport:
    """What an engine runs with. The report has `model`, `perGPU` (`MemoryTerms`), `host` (`HostMemory`) and `startup`
    beside these.

    Attributes:
        vllm: version.
        workers: processes of the engine.
        blocks: of the KV cache.
        block_size: tokens per block.
        kv_cache_tokens: tokens that the KV cache holds.
        concurrency_at_max_model_len: requests of `max_model_len` tokens at once.
    """

    vllm: str
    device: str
    tensor_parallel_size: int
    pipeline_parallel_size: int
    workers: int
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    gpu_memory_utilization: float
    kv_cache_dtype: str
    dtype: str
    quantization: str | None
    enable_prefix_caching: bool
    blocks: int
    block_size: int
    kv_cache_tokens: int
    concurrency_at_max_model_len: float

    def to_json(self) -> dict[str, Any]:
        """Return the fields by their JSON keys, in the order of their definition."""
        return {json_key(field.name): getattr(self, field.name) for field in fields(self)}


VERSION: Final = json_key("vllm")
DEVICE: Final = json_key("device")
MAX_MODEL_LEN: Final = json_key("max_model_len")
BLOCKS: Final = json_key("blocks")
BLOCK_SIZE: Final = json_key("block_size")
KV_CACHE_TOKENS: Final = json_key("kv_cache_tokens")
CONCURRENCY: Final = json_key("concurrency_at_max_model_len")
PER_GPU: Final = "perGPU"
HOST: Final = "host"
MODEL: Final = "model"
TASK: Final = "task"
STARTUP: Final = "startup"
"""Keys of the report; the operator's status has the same, but for the version."""

CAUSE: Final = "cause"
"""Key of the termination message: why the server ended."""
ENGINE_LINE: Final = "engineLine"
"""Key of the termination message: the line of the log that shows it; may be absent."""
HINT: Final = "hint"
"""Key of the termination message: what to do."""
