"""The smallest change that fits, and the choice of values left out.

Every suggestion is itself planned; only what comes back as Fits is offered. Candidates are ordered by what they cost
the user: nothing to buy first (length, cache dtype, utilization), then more GPUs, then another GPU class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.capacity.gpus.products import GPUClass
from triton_vllm_operator.capacity.memory.engine_settings import EngineSettings
from triton_vllm_operator.capacity.memory.planner import Plan, Suggestion, Verdict, plan
from triton_vllm_operator.capacity.model.shape import ModelShape

#: Sizes tried for tensor parallelism.
TENSOR_SIZES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16)
#: Contexts shorter than this are not worth offering.
SHORTEST_LENGTH = 2048
_HIGHEST_UTILIZATION = 0.97


def with_suggestions(
    shape: ModelShape, settings: EngineSettings, gpu: GPUClass, cluster: Sequence[GPUClass] = ()
) -> Plan:
    """The plan, with suggestions when it does not simply fit."""
    answer = plan(shape, settings, gpu)
    if answer.verdict == "Fits":
        return answer
    return replace(answer, suggestions=tuple(suggest(shape, settings, gpu, cluster)))


def suggest(
    shape: ModelShape, settings: EngineSettings, gpu: GPUClass, cluster: Sequence[GPUClass] = (), limit: int = 5
) -> list[Suggestion]:
    """Changes that fit, smallest first; at most one of each kind."""
    found: list[Suggestion] = []
    for candidate in _candidates(shape, settings, gpu, cluster):
        if candidate is not None:
            found.append(candidate)
        if len(found) == limit:
            break
    return found


def _candidates(
    shape: ModelShape, settings: EngineSettings, gpu: GPUClass, cluster: Sequence[GPUClass]
) -> Iterator[Suggestion | None]:
    yield _fewer_sequences(shape, settings, gpu)
    yield _higher_utilization(shape, settings, gpu)
    yield _smaller_batch(shape, settings, gpu)
    yield _fp8_cache(shape, settings, gpu)
    yield _shorter_length(shape, settings, gpu)
    yield _legal_parallel(shape, settings, gpu)
    yield _more_gpus(shape, settings, gpu)
    yield from _other_classes(shape, settings, gpu, cluster)
    yield _fp8_weights(shape, settings, gpu)


def _fits(
    shape: ModelShape,
    settings: EngineSettings,
    gpu: GPUClass,
    changes: dict[str, str | int | float],
    message: str,
) -> Suggestion | None:
    answer = plan(shape, settings, gpu)
    if answer.verdict != "Fits":
        return None
    verdict: Verdict = answer.verdict
    return Suggestion(tuple(changes.items()), message, verdict, answer.kv.concurrency)


def _fewer_sequences(shape: ModelShape, settings: EngineSettings, gpu: GPUClass) -> Suggestion | None:
    answer = plan(shape, settings, gpu)
    if answer.reason != Reason.TOO_FEW_STATE_BLOCKS:
        return None
    seqs = max(answer.kv_low.blocks * 9 // 10, 1)
    return _fits(
        shape, replace(settings, max_num_seqs=seqs), gpu, {"engine.maxNumSeqs": seqs}, f"set engine.maxNumSeqs: {seqs}"
    )


def _higher_utilization(shape: ModelShape, settings: EngineSettings, gpu: GPUClass) -> Suggestion | None:
    if settings.kv_cache_memory_bytes is not None or settings.device == "cpu":
        return None
    current = plan(shape, settings, gpu).resolved.gpu_memory_utilization
    highest = min(_HIGHEST_UTILIZATION, round(1 - 0.70 / gpu.memory_gib - 0.005, 2))
    for utilization in (round(step / 100, 2) for step in range(50, 98)):
        if utilization > highest:
            return None
        if utilization == current:
            continue
        changed = replace(settings, gpu_memory_utilization=utilization)
        lower_asked = plan(shape, settings, gpu).reason == Reason.UTILIZATION_TOO_HIGH
        if (utilization > current or lower_asked) and (answer := _fits(
            shape, changed, gpu, {"engine.gpuMemoryUtilization": utilization},
            f"set engine.gpuMemoryUtilization: {utilization}",
        )):  # fmt: skip
            return answer
    return None


def _smaller_batch(shape: ModelShape, settings: EngineSettings, gpu: GPUClass) -> Suggestion | None:
    resolved = plan(shape, settings, gpu).resolved
    tokens, seqs = resolved.max_num_batched_tokens, resolved.max_num_seqs
    while tokens > 2048 or seqs > 128:
        tokens, seqs = max(tokens // 2, 2048), max(seqs // 2, 128)
        answer = _fits(
            shape,
            replace(settings, max_num_batched_tokens=tokens, max_num_seqs=seqs),
            gpu,
            {"engine.maxNumBatchedTokens": tokens, "engine.maxNumSeqs": seqs},
            f"set engine.maxNumBatchedTokens: {tokens} and engine.maxNumSeqs: {seqs}",
        )
        if answer is not None:
            return answer
    return None


def _fp8_cache(shape: ModelShape, settings: EngineSettings, gpu: GPUClass) -> Suggestion | None:
    resolved = plan(shape, settings, gpu).resolved
    if resolved.kv_cache_dtype.startswith("fp8") or gpu.compute_capability < (8, 9):
        return None
    return _fits(
        shape,
        replace(settings, kv_cache_dtype="fp8"),
        gpu,
        {"engine.kvCacheDtype": "fp8"},
        "set engine.kvCacheDtype: fp8 (half the cache per token)",
    )


def _shorter_length(shape: ModelShape, settings: EngineSettings, gpu: GPUClass) -> Suggestion | None:
    answer = plan(shape, settings, gpu)
    length = min(answer.kv_low.estimated_max_len, answer.resolved.max_model_len, shape.max_position)
    rounded = length // 1024 * 1024
    if rounded < SHORTEST_LENGTH or rounded == answer.resolved.max_model_len:
        return None
    return _fits(
        shape,
        replace(settings, max_model_len=rounded),
        gpu,
        {"engine.maxModelLen": rounded},
        f"set engine.maxModelLen: {rounded}",
    )


def _legal_parallel(shape: ModelShape, settings: EngineSettings, gpu: GPUClass) -> Suggestion | None:
    if not plan(shape, settings, gpu).reason.startswith(("TensorParallel", "QuantizationGroup")):
        return None
    return _first_size(
        shape, settings, gpu, tuple(size for size in reversed(TENSOR_SIZES) if size < settings.tensor_parallel_size)
    )


def _more_gpus(shape: ModelShape, settings: EngineSettings, gpu: GPUClass) -> Suggestion | None:
    sizes = tuple(size for size in _sizes_of_a_node(settings, gpu) if size > settings.tensor_parallel_size)
    return _first_size(shape, settings, gpu, sizes)


def _sizes_of_a_node(settings: EngineSettings, gpu: GPUClass) -> tuple[int, ...]:
    """Tensor parallel sizes with which one node holds a whole replica; eight GPUs where the node is not known."""
    return tuple(size for size in TENSOR_SIZES if size * settings.pipeline_parallel_size <= (gpu.per_node or 8))


def _first_size(shape: ModelShape, settings: EngineSettings, gpu: GPUClass, sizes: Sequence[int]) -> Suggestion | None:
    for size in sizes:
        answer = _fits(
            shape,
            replace(settings, tensor_parallel_size=size),
            gpu,
            {"engine.tensorParallelSize": size},
            f"set engine.tensorParallelSize: {size} ({size * settings.pipeline_parallel_size} GPUs a replica)",
        )
        if answer is not None:
            return answer
    return None


def _other_classes(
    shape: ModelShape, settings: EngineSettings, gpu: GPUClass, cluster: Sequence[GPUClass]
) -> Iterator[Suggestion | None]:
    for other in sorted(cluster, key=lambda item: item.memory_bytes):
        if (other.product, other.memory_bytes) == (gpu.product, gpu.memory_bytes) or not _holds(other, settings):
            continue
        yield _fits(
            shape,
            settings,
            other,
            {"resources.gpu.product": other.product},
            f"set resources.gpu.product: {other.product}",
        )


def _holds(gpu: GPUClass, settings: EngineSettings) -> bool:
    """Whether one node has the GPUs of a replica, as far as nodes are known."""
    return not gpu.per_node or gpu.per_node >= settings.gpus


def _fp8_weights(shape: ModelShape, settings: EngineSettings, gpu: GPUClass) -> Suggestion | None:
    if shape.quantization is not None or gpu.compute_capability < (8, 9):
        return None
    halved = tuple(
        replace(layer, weights=tuple(
            part if part.group == "norms" else replace(part, size_bytes=part.size_bytes // 2) for part in layer.weights
        ))
        for layer in shape.layers
    )  # fmt: skip
    return _fits(
        replace(shape, layers=halved),
        settings,
        gpu,
        {"model.variant": "fp8"},
        "use an FP8 variant of the model (half the weights)",
    )


def choose(
    shape: ModelShape,
    settings: EngineSettings,
    gpu: GPUClass,
    *,
    choose_parallel: bool = True,
    concurrency: float = 1.0,
) -> EngineSettings:
    """Settings with every absent value written out, so that the plan and the engine cannot drift apart.

    The tensor parallel size becomes the smallest that the rules allow and that fits the wanted length (the model's own
    when none is wanted) with ``concurrency`` full-length requests; when none does, the smallest with the longest length
    that does. Lengths are then rounded down to a multiple of 1,024. What is only Tight is chosen where nothing fits for
    certain. Without either the settings come back resolved but otherwise unchanged, so that their plan says why.
    """
    given = (settings.tensor_parallel_size,)
    sizes = (_sizes_of_a_node(settings, gpu) or given) if choose_parallel else given
    candidates = [replace(settings, tensor_parallel_size=size) for size in sizes]
    for accepted in (("Fits",), ("Fits", "Tight")):
        need = _Need(accepted, concurrency)
        if found := _first_choice(shape, candidates, gpu, need):
            return written_out(shape, found, gpu)
    return written_out(shape, settings, gpu)


@dataclass(frozen=True, slots=True)
class _Need:
    """What a choice must come to: a verdict, and full-length requests even with the smallest KV cache."""

    verdicts: tuple[Verdict, ...]
    concurrency: float

    def met(self, answer: Plan) -> bool:
        return answer.verdict in self.verdicts and answer.kv_low.concurrency >= self.concurrency


def _first_choice(
    shape: ModelShape, candidates: Sequence[EngineSettings], gpu: GPUClass, need: _Need
) -> EngineSettings | None:
    """The first candidate that meets the need; else, if the length is open, the one that does with the longest."""
    shorter: list[EngineSettings] = []
    for candidate in candidates:
        if need.met(plan(shape, candidate, gpu)):
            return candidate
        if candidate.max_model_len is None and (found := _longest(shape, candidate, gpu, need)):
            shorter.append(found)
    return max(shorter, key=lambda found: found.max_model_len or 0, default=None)


def _longest(shape: ModelShape, settings: EngineSettings, gpu: GPUClass, need: _Need) -> EngineSettings | None:
    low, high = 0, shape.max_position // 1024
    while low < high:
        middle = (low + high + 1) // 2
        answer = plan(shape, replace(settings, max_model_len=middle * 1024), gpu)
        if need.met(answer):
            low = middle
        else:
            high = middle - 1
    return replace(settings, max_model_len=low * 1024) if low * 1024 >= SHORTEST_LENGTH else None


def written_out(shape: ModelShape, settings: EngineSettings, gpu: GPUClass) -> EngineSettings:
    """The same settings with every value that the engine would fill in made explicit."""
    resolved = plan(shape, settings, gpu).resolved
    return replace(
        settings,
        gpu_memory_utilization=resolved.gpu_memory_utilization,
        max_model_len=resolved.max_model_len,
        max_num_batched_tokens=resolved.max_num_batched_tokens,
        max_num_seqs=resolved.max_num_seqs,
        enable_prefix_caching=resolved.enable_prefix_caching,
    )
