"""The planner's settings from `spec.engine` of an LLMDeployment: every argument that changes the plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.api.spec import EngineSpec
from triton_vllm_operator.capacity import EngineSettings, ShapeError
from triton_vllm_operator.capacity.memory.engine_settings import Speculation
from triton_vllm_operator.catalog.argument_table import Argument, JSONType
from triton_vllm_operator.catalog.argument_values import has_valid_type, type_names, violated_bound

# Fields of `spec.engine` that the planner takes under the same name.
_FIELDS = (
    "pipeline_parallel_size", "max_model_len", "gpu_memory_utilization", "max_num_batched_tokens", "max_num_seqs",
    "block_size", "quantization", "enable_prefix_caching", "enable_chunked_prefill",
)  # fmt: skip
# Arguments of `spec.engine.extraArgs` that the planner takes under the same name, with their type.
_EXTRA: dict[str, JSONType] = {
    "enable_expert_parallel": "bool", "kv_cache_memory_bytes": "int", "num_gpu_blocks_override": "int",
    "disable_hybrid_kv_cache_manager": "bool", "async_scheduling": "bool", "max_cudagraph_capture_size": "int",
    "mamba_ssm_cache_dtype": "str",
}  # fmt: skip
# Arguments that it takes in another form.
_OTHERS = (
    "tensor_parallel_size", "dtype", "kv_cache_dtype", "enforce_eager", "speculative_config", "compilation_config",
    "kv_offloading_backend", "kv_offloading_size", "mm_processor_cache_gb", "mm_processor_cache_type",
    "safetensors_load_strategy",
)  # fmt: skip
PLANNED = frozenset((*_FIELDS, *_EXTRA, *_OTHERS))
"""Arguments that the planner reads, by vLLM's names."""
_METHODS: dict[str, Speculation] = {"ngram": "ngram", "eagle": "eagle", "eagle3": "eagle", "draft_model": "draft_model"}


def engine_settings(engine: EngineSpec, engine_version: str) -> EngineSettings:
    """The planner's settings.

    Raises:
        ShapeError: for an argument of the wrong type.
    """
    values: dict[str, Any] = {name: getattr(engine, name) for name in _FIELDS}
    given = {**_compilation(engine.extra_args.get("compilation_config")), **engine.extra_args}
    taken = {name: value for name, value in given.items() if name in _EXTRA and value is not None}
    values |= {name: _typed(name, value, _EXTRA[name]) for name, value in taken.items()}
    return EngineSettings(
        engine_version=engine_version,
        tensor_parallel_size=engine.tensor_parallel_size or 1,
        dtype=engine.dtype or "auto",
        kv_cache_dtype=engine.kv_cache_dtype or "auto",
        enforce_eager=bool(engine.enforce_eager),
        **values,
        **_speculation(engine.extra_args.get("speculative_config")),
        **_host(engine.extra_args),
    )


def _compilation(given: Any) -> Mapping[str, Any]:
    """The arguments that `compilation_config` may have instead of the engine itself."""
    name = "max_cudagraph_capture_size"
    value = given.get(name) if isinstance(given, Mapping) else None
    return {} if value is None else {name: value}


def _host(extra: Mapping[str, Any]) -> dict[str, Any]:
    """The planner's fields about the host's memory."""
    sizes = {"kv_offload_gib": "kv_offloading_size", "mm_processor_cache_gb": "mm_processor_cache_gb"}
    found: dict[str, Any] = {
        field: _number(name, extra[name]) for field, name in sizes.items() if extra.get(name) is not None
    }
    return found | {
        "mm_cache_in_shm": extra.get("mm_processor_cache_type") == "shm",
        "loads_eagerly": extra.get("safetensors_load_strategy") == "eager",
    }


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**20:
        raise ShapeError(
            Reason.ENGINE_ARGUMENT_INVALID,
            f"engine.extraArgs.{name} must be a number of GiB from 0 to 1048576, not {value!r:.60}",
        )
    return float(value)


def _typed(name: str, value: Any, expected: JSONType) -> Any:
    argument = Argument(name, (expected,), bounds={"gt": 0} if expected == "int" else {})
    if not has_valid_type(argument, value) or violated_bound(argument.bounds, value):
        valid = type_names(argument) + (" greater than 0" if argument.bounds else "")
        raise ShapeError(Reason.ENGINE_ARGUMENT_INVALID, f"engine.extraArgs.{name} must be {valid}, not {value!r:.60}")
    return value


def _speculation(given: Any) -> dict[str, Any]:
    """The planner's fields of `speculative_config`: the method, and the number of tokens that it proposes."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ShapeError(Reason.ENGINE_ARGUMENT_INVALID, "engine.extraArgs.speculative_config must be an object")
    method = str(given.get("method", "draft_model"))
    kind: Speculation | None = "mtp" if method.endswith("mtp") else _METHODS.get(method)
    if kind is None:
        raise ShapeError(
            Reason.ENGINE_ARGUMENT_INVALID, f"the planner does not know the speculative method {method!r:.60}"
        )
    tokens = _typed("speculative_config.num_speculative_tokens", given.get("num_speculative_tokens", 1), "int")
    drafts = {"draft_attention_layers": 1} if kind == "eagle" else {}
    return {"speculation": kind, "num_speculative_tokens": tokens, **drafts}
