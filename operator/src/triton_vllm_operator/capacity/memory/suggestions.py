"""Finds the smallest change that fits, and chooses the values that a spec leaves out.

Every suggestion is itself planned; only what comes back as Fits is offered. Candidates are ordered by what they cost
the user: settings first (sequences, utilization, batch, cache dtype, length), then GPUs, then another GPU class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.capacity.gpus.products import GPUClass
from triton_vllm_operator.capacity.memory.engine_settings import EngineSettings
from triton_vllm_operator.capacity.memory.fit_checks import Verdict, fitting_sequences
from triton_vllm_operator.capacity.memory.planner import Plan, Suggestion, plan
from triton_vllm_operator.capacity.model.shape import ModelShape, WeightPart

TENSOR_SIZES: Final = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16)
"""Sizes that are tried for tensor parallelism."""
SHORTEST_LENGTH: Final = 2048
"""Contexts shorter than this many tokens are not offered."""
MAX_SUGGESTIONS: Final = 5
_HIGHEST_UTILIZATION: Final = 0.97
_UTILIZATIONS: Final = tuple(percent / 100 for percent in range(50, 98))
"""Shares of a GPU that are tried, lowest first."""
_CONTEXT_GIB: Final = 0.70
"""GiB that a suggested utilization leaves for the CUDA context."""
_SMALLEST_BATCH_TOKENS: Final = 2048
_FEWEST_SEQUENCES: Final = 128
_LENGTH_STEP: Final = 1024
"""Offered lengths are multiples of this many tokens."""
_FP8_CAPABILITY: Final = (8, 9)
"""GPUs from this compute capability on compute in FP8."""


@dataclass(frozen=True, slots=True)
class _Search:
    """What does not simply fit, with its plan, and the other GPU classes of the cluster."""

    shape: ModelShape
    settings: EngineSettings
    gpu: GPUClass
    cluster: Sequence[GPUClass]
    current: Plan

    def fitting(
        self,
        changes: dict[str, str | int | float],
        message: str,
        *,
        shape: ModelShape | None = None,
        settings: EngineSettings | None = None,
        gpu: GPUClass | None = None,
    ) -> Suggestion | None:
        """Return the suggestion of these changes if the plan with the shape, settings or GPU instead fits."""
        answer = plan(shape or self.shape, settings or self.settings, gpu or self.gpu)
        if answer.verdict != "Fits":
            return None
        return Suggestion(tuple(changes.items()), message, answer.verdict, answer.kv.concurrency)


def with_suggestions(
    shape: ModelShape, settings: EngineSettings, gpu: GPUClass, cluster: Sequence[GPUClass] = ()
) -> Plan:
    """Return the plan, with suggestions when its verdict is not Fits."""
    answer = plan(shape, settings, gpu)
    if answer.verdict == "Fits":
        return answer
    return replace(answer, suggestions=_suggest(_Search(shape, settings, gpu, cluster, answer)))


def _suggest(search: _Search) -> tuple[Suggestion, ...]:
    """Return the first changes that fit; at most one of each kind except other GPU classes."""
    return tuple(islice((found for found in _candidates(search) if found is not None), MAX_SUGGESTIONS))


def _candidates(search: _Search) -> Iterator[Suggestion | None]:
    yield _fewer_sequences(search)
    yield _higher_utilization(search)
    yield _smaller_batch(search)
    yield _fp8_cache(search)
    yield _shorter_length(search)
    yield _legal_parallel(search)
    yield _more_gpus(search)
    yield from _other_classes(search)
    yield _fp8_weights(search)


def _fewer_sequences(search: _Search) -> Suggestion | None:
    if search.current.reason != Reason.TOO_FEW_STATE_BLOCKS:
        return None
    seqs = fitting_sequences(search.current.kv_low.blocks)
    return search.fitting(
        {"engine.maxNumSeqs": seqs},
        f"set engine.maxNumSeqs: {seqs}",
        settings=replace(search.settings, max_num_seqs=seqs),
    )


def _higher_utilization(search: _Search) -> Suggestion | None:
    """Return the lowest share of the GPU that fits: above the current one, or below it where that is too high."""
    settings = search.settings
    if settings.kv_cache_memory_bytes is not None or settings.device == "cpu":
        return None
    current = search.current.resolved.gpu_memory_utilization
    too_high = search.current.reason == Reason.UTILIZATION_TOO_HIGH
    highest = min(_HIGHEST_UTILIZATION, round(1 - _CONTEXT_GIB / search.gpu.memory_gib - 0.005, 2))
    for utilization in _UTILIZATIONS:
        if utilization > highest:
            return None
        if utilization == current or (utilization < current and not too_high):
            continue
        found = search.fitting(
            {"engine.gpuMemoryUtilization": utilization},
            f"set engine.gpuMemoryUtilization: {utilization}",
            settings=replace(settings, gpu_memory_utilization=utilization),
        )
        if found is not None:
            return found
    return None


def _smaller_batch(search: _Search) -> Suggestion | None:
    resolved = search.current.resolved
    tokens, seqs = resolved.max_num_batched_tokens, resolved.max_num_seqs
    while tokens > _SMALLEST_BATCH_TOKENS or seqs > _FEWEST_SEQUENCES:
        tokens, seqs = max(tokens // 2, _SMALLEST_BATCH_TOKENS), max(seqs // 2, _FEWEST_SEQUENCES)
        found = search.fitting(
            {"engine.maxNumBatchedTokens": tokens, "engine.maxNumSeqs": seqs},
            f"set engine.maxNumBatchedTokens: {tokens} and engine.maxNumSeqs: {seqs}",
            settings=replace(search.settings, max_num_batched_tokens=tokens, max_num_seqs=seqs),
        )
        if found is not None:
            return found
    return None


def _fp8_cache(search: _Search) -> Suggestion | None:
    if search.current.resolved.kv_cache_dtype.startswith("fp8") or search.gpu.compute_capability < _FP8_CAPABILITY:
        return None
    return search.fitting(
        {"engine.kvCacheDtype": "fp8"},
        "set engine.kvCacheDtype: fp8 (half the cache per token)",
        settings=replace(search.settings, kv_cache_dtype="fp8"),
    )


def _shorter_length(search: _Search) -> Suggestion | None:
    answer = search.current
    length = min(answer.kv_low.estimated_max_len, answer.resolved.max_model_len, search.shape.max_position)
    rounded = length // _LENGTH_STEP * _LENGTH_STEP
    if rounded < SHORTEST_LENGTH or rounded == answer.resolved.max_model_len:
        return None
    return search.fitting(
        {"engine.maxModelLen": rounded},
        f"set engine.maxModelLen: {rounded}",
        settings=replace(search.settings, max_model_len=rounded),
    )


def _legal_parallel(search: _Search) -> Suggestion | None:
    if not search.current.reason.startswith(("TensorParallel", "QuantizationGroup")):
        return None
    return _first_size(search, [size for size in reversed(TENSOR_SIZES) if size < search.settings.tensor_parallel_size])


def _more_gpus(search: _Search) -> Suggestion | None:
    settings = search.settings
    return _first_size(search, [n for n in _sizes_of_a_node(settings, search.gpu) if n > settings.tensor_parallel_size])


def _sizes_of_a_node(settings: EngineSettings, gpu: GPUClass) -> tuple[int, ...]:
    """Return the tensor parallel sizes with which one node holds a replica; of eight GPUs where it is not known."""
    return tuple(size for size in TENSOR_SIZES if size * settings.pipeline_parallel_size <= (gpu.per_node or 8))


def _first_size(search: _Search, sizes: Sequence[int]) -> Suggestion | None:
    for size in sizes:
        found = search.fitting(
            {"engine.tensorParallelSize": size},
            f"set engine.tensorParallelSize: {size} ({size * search.settings.pipeline_parallel_size} GPUs per replica)",
            settings=replace(search.settings, tensor_parallel_size=size),
        )
        if found is not None:
            return found
    return None


def _other_classes(search: _Search) -> Iterator[Suggestion | None]:
    own = (search.gpu.product, search.gpu.memory_bytes)
    for other in sorted(search.cluster, key=lambda gpu: gpu.memory_bytes):
        if (other.product, other.memory_bytes) != own and _holds_replica(other, search.settings):
            yield search.fitting(
                {"resources.gpu.product": other.product}, f"set resources.gpu.product: {other.product}", gpu=other
            )


def _holds_replica(gpu: GPUClass, settings: EngineSettings) -> bool:
    """Return whether one node has the GPUs of a replica, as far as nodes are known."""
    return not gpu.per_node or gpu.per_node >= settings.gpus


def _fp8_weights(search: _Search) -> Suggestion | None:
    if search.shape.quantization is not None or search.gpu.compute_capability < _FP8_CAPABILITY:
        return None
    layers = tuple(
        replace(layer, weights=tuple(_halved(part) for part in layer.weights)) for layer in search.shape.layers
    )
    return search.fitting(
        {"model.variant": "fp8"},
        "use an FP8 variant of the model (half the weights)",
        shape=replace(search.shape, layers=layers),
    )


def _halved(part: WeightPart) -> WeightPart:
    return part if part.group == "norms" else replace(part, size_bytes=part.size_bytes // 2)


def choose(
    shape: ModelShape,
    settings: EngineSettings,
    gpu: GPUClass,
    *,
    choose_parallel: bool = True,
    concurrency: float = 1.0,
) -> EngineSettings:
    """Return settings with every absent value written out, so that the plan and the engine cannot differ.

    The tensor parallel size becomes the smallest that the rules allow and that fits the requested length (the model's
    own by default) with `concurrency` full-length requests; when none does, the smallest with the longest length that
    does. Lengths are then rounded down to a multiple of 1,024. What is only Tight is chosen where nothing fits for
    certain. Without either the settings come back resolved but otherwise unchanged, so that their plan says why.

    Args:
        choose_parallel: whether the tensor parallel size may change.
        concurrency: full-length requests at once.
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
    """What a choice must reach: a verdict, and full-length requests even at the low end of the KV cache."""

    verdicts: tuple[Verdict, ...]
    concurrency: float

    def met(self, answer: Plan) -> bool:
        return answer.verdict in self.verdicts and answer.kv_low.concurrency >= self.concurrency


def _first_choice(
    shape: ModelShape, candidates: Sequence[EngineSettings], gpu: GPUClass, need: _Need
) -> EngineSettings | None:
    """Return the first candidate that meets the need; else, if no length is set, that with the longest that does."""
    shorter: list[EngineSettings] = []
    for candidate in candidates:
        if need.met(plan(shape, candidate, gpu)):
            return candidate
        if candidate.max_model_len is None and (found := _longest(shape, candidate, gpu, need)):
            shorter.append(found)
    return max(shorter, key=lambda found: found.max_model_len or 0, default=None)


def _longest(shape: ModelShape, settings: EngineSettings, gpu: GPUClass, need: _Need) -> EngineSettings | None:
    low, high = 0, shape.max_position // _LENGTH_STEP
    while low < high:
        middle = (low + high + 1) // 2
        answer = plan(shape, replace(settings, max_model_len=middle * _LENGTH_STEP), gpu)
        if need.met(answer):
            low = middle
        else:
            high = middle - 1
    return replace(settings, max_model_len=low * _LENGTH_STEP) if low * _LENGTH_STEP >= SHORTEST_LENGTH else None


def written_out(shape: ModelShape, settings: EngineSettings, gpu: GPUClass) -> EngineSettings:
    """Return the settings with every value that the engine would fill in."""
    resolved = plan(shape, settings, gpu).resolved
    return replace(
        settings,
        gpu_memory_utilization=resolved.gpu_memory_utilization,
        max_model_len=resolved.max_model_len,
        max_num_batched_tokens=resolved.max_num_batched_tokens,
        max_num_seqs=resolved.max_num_seqs,
        enable_prefix_caching=resolved.enable_prefix_caching,
    )
