"""From bytes available for the KV cache to blocks, tokens and concurrency, as vLLM computes them.

Sources: `vllm/v1/core/kv_cache_utils.py` and `vllm/v1/kv_cache_interface.py` (grouping, block counts, per-request
cost), `vllm/platforms/interface.py` (block size of hybrid models). The rules differ between versions; what differs
is data (`catalog.engine_rules`), what does not is here. `tests/oracle` compares this module with the engine's own code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

from triton_vllm_operator.capacity.dtypes import CACHE_DTYPE_BYTES, MLA_PACKED_BYTES, SCALED_PER_TOKEN_AND_HEAD
from triton_vllm_operator.capacity.model.shape import CacheKind, CacheShape, LayerShape
from triton_vllm_operator.catalog.engine_rules import EngineRules


@dataclass(frozen=True, slots=True)
class KVSettings:
    """Settings of the KV cache arithmetic that do not come from the model. Lengths in tokens."""

    rules: EngineRules
    tensor_parallel_size: int
    pipeline_parallel_size: int
    block_size: int
    model_dtype: str
    kv_dtype: str
    max_model_len: int
    max_num_batched_tokens: int
    batches_in_flight: int = 1
    speculative_tokens: int = 0
    prefix_caching: bool = True
    mamba_align: bool = True
    hybrid_manager: bool = True
    encoder_len: int = 0
    blocks_override: int | None = None
    kernel_block: int = 16
    mla_hybrid_block: int = 128
    layer_partition: tuple[int, ...] = ()
    state_dtype: str = "auto"


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """One cache of one layer on one rank: its kind, tokens per block and bytes per page (block of one layer)."""

    kind: CacheKind
    block_size: int
    page_bytes: int
    token_bytes: int
    window: int = 0
    padded: bool = False
    promoted_window: int = 0
    state_blocks: int = 0

    @property
    def family(self) -> str:
        """Specs of one family can share a group when all layers of the model are of it."""
        return "full" if self.kind in {"full", "mla"} else self.kind


@dataclass(frozen=True, slots=True)
class Group:
    """Layers that share one block table: indices into the model's caches, one spec per layer, and the distinct ones."""

    members: tuple[int, ...]
    specs: tuple[LayerSpec, ...]
    distinct: tuple[LayerSpec, ...]

    @property
    def page_bytes(self) -> int:
        """Bytes of one block of this group: the sum of its layers' pages."""
        return sum(spec.page_bytes for spec in self.specs)


@dataclass(frozen=True, slots=True)
class KVLayout:
    """Groups of the whole model and, per pipeline stage, the bytes one block takes there."""

    groups: tuple[Group, ...]
    stage_block_bytes: tuple[int, ...]
    block_size: int

    @property
    def has_padded_pages(self) -> bool:
        """Whether a layer's page is smaller than the largest one and does not divide it (`pads_uneven_pages`)."""
        return any(spec.padded for group in self.groups for spec in group.distinct)

    @property
    def block_bytes(self) -> int:
        """Bytes of one block on the rank that needs most."""
        return max(self.stage_block_bytes, default=0)


@dataclass(frozen=True, slots=True)
class KVResult:
    """What the available bytes give: blocks (including the one the engine holds back), tokens, full-length requests."""

    blocks: int
    tokens: int
    concurrency: float
    fits_one_request: bool
    needed_bytes: int
    estimated_max_len: int


def ceil_div(value: int, divisor: int) -> int:
    """Integer division rounding up."""
    return -(-value // divisor)


def cache_bytes_per_token(cache: CacheShape, kv_dtype: str, tensor_parallel_size: int) -> int:
    """Bytes that one token takes in one layer's cache on one rank."""
    if cache.element_bytes:
        heads = max(1, cache.kv_heads // tensor_parallel_size)
        return heads * (cache.head_size + cache.head_size_v) * cache.element_bytes
    if cache.kind == "mla":
        packed = MLA_PACKED_BYTES.get(kv_dtype)
        return packed if packed is not None else cache.head_size * CACHE_DTYPE_BYTES[kv_dtype]
    heads = max(1, cache.kv_heads // tensor_parallel_size)
    size = heads * (cache.head_size + cache.head_size_v) * CACHE_DTYPE_BYTES[kv_dtype]
    return size + 2 * heads * 4 if kv_dtype in SCALED_PER_TOKEN_AND_HEAD else size


def state_bytes(cache: CacheShape, settings: KVSettings) -> int:
    """Bytes of one recurrent state on one rank."""
    state = cache.state
    if state is None:
        return 0
    tp = settings.tensor_parallel_size
    conv_bytes = CACHE_DTYPE_BYTES[settings.model_dtype]
    chosen = state.state_dtype if settings.state_dtype == "auto" else settings.state_dtype
    state_dtype_bytes = conv_bytes if chosen == "auto" else CACHE_DTYPE_BYTES[chosen]
    groups = state.groups if state.groups % tp == 0 else tp
    columns = state.conv_taps - 1 + (settings.speculative_tokens if state.grows_with_speculation else 0)
    convolution = (state.conv_width + groups * state.group_width) // tp * columns
    return convolution * conv_bytes + state.state_elements // tp * state_dtype_bytes


def hybrid_block_size(caches: Sequence[CacheShape], settings: KVSettings) -> int:
    """Block size after the engine has made an attention page at least as large as a state (hybrid models only)."""
    attention = [c for c in caches if c.kind != "mamba"]
    states = [c for c in caches if c.kind == "mamba"]
    if not attention or not states:
        return settings.block_size
    token_bytes = cache_bytes_per_token(attention[0], settings.kv_dtype, settings.tensor_parallel_size)
    align = max(settings.kernel_block, settings.block_size)
    if attention[0].kind == "mla":
        align = max(align, settings.mla_hybrid_block)
    blocks = align * ceil_div(state_bytes(states[0], settings), align * token_bytes)
    blocks = ceil_div(blocks, settings.kernel_block) * settings.kernel_block
    return max(settings.block_size, blocks)


def layout(layers: Sequence[LayerShape], settings: KVSettings, draft: Sequence[LayerShape] = ()) -> KVLayout:
    """Group the model's caches and compute block bytes per pipeline stage."""
    placed = _placed_caches(layers, draft, settings)
    caches = [cache for _, cache in placed]
    block_size = hybrid_block_size(caches, settings)
    specs = [layer_spec(cache, settings, block_size) for cache in caches]
    groups = group_specs(specs, settings)
    stages = settings.pipeline_parallel_size
    stage_of = [stage for stage, _ in placed]
    block_bytes = tuple(_stage_block_bytes(groups, stage_of, stage) for stage in range(stages))
    return KVLayout(groups, block_bytes, block_size)


def _placed_caches(
    layers: Sequence[LayerShape], draft: Sequence[LayerShape], settings: KVSettings
) -> list[tuple[int, CacheShape]]:
    counts = stage_layers(len(layers), settings.pipeline_parallel_size, settings.layer_partition)
    stage_of = [stage for stage, count in enumerate(counts) for _ in range(count)]
    placed = [(stage_of[i], cache) for i, layer in enumerate(layers) for cache in layer.caches]
    last = settings.pipeline_parallel_size - 1
    return placed + [(last, cache) for layer in draft for cache in layer.caches]


def stage_layers(layers: int, stages: int, partition: Sequence[int] = ()) -> tuple[int, ...]:
    """Decoder layers per pipeline stage (`vllm/distributed/utils.py: get_pp_indices`)."""
    if partition:
        return tuple(partition)
    counts = [layers // stages] * stages
    for i in range(2, layers % stages + 2):
        counts[-i] += 1
    return tuple(counts)


def _stage_block_bytes(groups: Sequence[Group], stage_of: Sequence[int], stage: int) -> int:
    return max(
        (
            sum(
                spec.page_bytes
                for index, spec in zip(group.members, group.specs, strict=True)
                if stage_of[index] == stage
            )
            for group in groups
        ),
        default=0,
    )


def layer_spec(cache: CacheShape, settings: KVSettings, block_size: int) -> LayerSpec:
    """The engine's spec of one cache on one rank."""
    if cache.kind == "mamba":
        return _state_spec(cache, settings, block_size)
    token_bytes = cache_bytes_per_token(cache, settings.kv_dtype, settings.tensor_parallel_size)
    return LayerSpec(cache.kind, block_size, block_size * token_bytes, token_bytes, window=cache.window)


def _state_spec(cache: CacheShape, settings: KVSettings, block_size: int) -> LayerSpec:
    align = settings.mamba_align and settings.prefix_caching
    blocks = (2 if align else 1) + settings.speculative_tokens
    if align and cache.state is not None and cache.state.groups:  # only Mamba 2 has groups
        blocks += settings.rules.mamba2_checkpoint_blocks
    page = state_bytes(cache, settings)
    return LayerSpec("mamba", block_size if align else settings.max_model_len, page, 0, state_blocks=blocks)


def group_specs(specs: Sequence[LayerSpec], settings: KVSettings) -> tuple[Group, ...]:
    """Split layers into groups (`get_kv_cache_groups`)."""
    if not specs:
        return ()
    specs = _pad_states(specs)
    if not settings.hybrid_manager:
        specs = _promote_local(specs)
    everything = tuple(range(len(specs)))
    if _one_family(specs):
        return (_group(everything, specs),)
    levelled = _level_pages(specs)
    return _equal_groups(levelled, settings.rules)


def _pad_states(specs: Sequence[LayerSpec]) -> list[LayerSpec]:
    attention = [spec.page_bytes for spec in specs if spec.kind != "mamba"]
    if not attention:
        return list(specs)
    page = max(attention)
    return [replace(spec, page_bytes=max(page, spec.page_bytes)) if spec.kind == "mamba" else spec for spec in specs]


def _promote_local(specs: Sequence[LayerSpec]) -> list[LayerSpec]:
    if not any(spec.family == "full" for spec in specs):
        return list(specs)
    return [
        replace(spec, kind="full", window=0, promoted_window=spec.window)
        if spec.kind in {"sliding", "chunked"}
        else spec
        for spec in specs
    ]


def _one_family(specs: Sequence[LayerSpec]) -> bool:
    first = specs[0]
    if any(spec.family != first.family or spec.block_size != first.block_size for spec in specs):
        return False
    if first.kind == "mamba":
        return all(s.state_blocks == first.state_blocks and s.page_bytes == first.page_bytes for s in specs)
    return first.family == "full" or all(spec.window == first.window for spec in specs)


def _level_pages(specs: Sequence[LayerSpec]) -> list[LayerSpec]:
    largest = max(spec.page_bytes for spec in specs)
    levelled = []
    for spec in specs:
        if spec.page_bytes == largest or spec.kind == "mamba":
            levelled.append(replace(spec, page_bytes=largest))
        elif largest % spec.page_bytes == 0:
            levelled.append(
                replace(spec, page_bytes=largest, block_size=spec.block_size * (largest // spec.page_bytes))
            )
        else:
            levelled.append(replace(spec, page_bytes=largest, padded=True))
    return levelled


def _equal_groups(specs: Sequence[LayerSpec], rules: EngineRules) -> tuple[Group, ...]:
    buckets: dict[LayerSpec, list[int]] = {}
    for index, spec in enumerate(specs):
        key = spec
        if rules.merges_full_attention and spec.kind == "full":
            key = next((other for other in buckets if _mergeable(other, spec)), spec)
        buckets.setdefault(key, []).append(index)
    sizes = [len(members) for members in buckets.values()]
    size = min(sizes)
    if rules.group_padding_factor and max(sizes) < size * rules.group_padding_factor:
        size = max(sizes)
    groups: list[tuple[int, ...]] = []
    for members in buckets.values():
        count = ceil(len(members) / size)
        groups.extend(tuple(members[i::count]) for i in range(count))
    return tuple(_group(members, specs) for members in groups)


def _group(members: tuple[int, ...], specs: Sequence[LayerSpec]) -> Group:
    chosen = tuple(specs[i] for i in members)
    return Group(members, chosen, tuple(dict.fromkeys(chosen)))


def _mergeable(one: LayerSpec, other: LayerSpec) -> bool:
    same = (one.kind, one.block_size, one.page_bytes) == (other.kind, other.block_size, other.page_bytes)
    windows = {w for w in (one.promoted_window, other.promoted_window) if w}
    return same and len(windows) <= 1


def blocks_per_request(group: Group, settings: KVSettings, length: int) -> int:
    """Blocks of `group` that one request of `length` tokens holds at most."""
    return max(_spec_blocks(spec, settings, length) for spec in group.distinct)


def _spec_blocks(spec: LayerSpec, settings: KVSettings, length: int) -> int:
    flight = settings.max_num_batched_tokens * (settings.batches_in_flight if settings.rules.counts_flight else 1)
    if spec.kind == "mamba":
        return spec.state_blocks
    if spec.kind == "cross":
        return ceil_div(settings.encoder_len, spec.block_size)
    if spec.kind == "sliding":
        return ceil_div(min(spec.window - 1 + flight, length), spec.block_size) + 1
    if spec.kind == "chunked":
        return ceil_div(min(spec.window + flight, length), spec.block_size)
    return ceil_div(length, spec.block_size)


def request_blocks(plan: KVLayout, settings: KVSettings, length: int) -> int:
    """Blocks of the shared pool that one request of `length` tokens takes over all groups."""
    return sum(blocks_per_request(group, settings, length) for group in plan.groups)


def capacity(plan: KVLayout, settings: KVSettings, available_bytes: Sequence[int] | int) -> KVResult:
    """Blocks, tokens and concurrency for the bytes available (one figure, or one per pipeline stage)."""
    if not plan.groups:
        return KVResult(1, 0, 0.0, True, 0, settings.max_model_len)
    per_stage = _per_stage(available_bytes, len(plan.stage_block_bytes))
    if settings.blocks_override is not None:
        per_stage = [settings.blocks_override * size for size in plan.stage_block_bytes]
    stages = [(size, free) for size, free in zip(plan.stage_block_bytes, per_stage, strict=True) if size]
    blocks = min(max(free // size, 0) for size, free in stages)
    needed = request_blocks(plan, settings, settings.max_model_len)
    held_back = 1 if settings.rules.reserves_null_block else 0
    usable = blocks - held_back
    longest = longest_request(plan, settings, usable)
    concurrency = blocks / needed if needed else 0.0
    return KVResult(
        blocks=blocks,
        tokens=_logged_tokens(plan, settings, blocks, concurrency),
        concurrency=concurrency,
        fits_one_request=usable > 0 and needed <= usable,
        needed_bytes=(needed + held_back) * plan.block_bytes,
        estimated_max_len=longest,
    )


def _per_stage(available: Sequence[int] | int, stages: int) -> list[int]:
    return [available] * stages if isinstance(available, int) else list(available)


def _logged_tokens(plan: KVLayout, settings: KVSettings, blocks: int, concurrency: float) -> int:
    if settings.rules.tokens_from_concurrency:
        return int(concurrency * settings.max_model_len)
    smallest = min(spec.block_size for group in plan.groups for spec in group.specs)
    return blocks // len(plan.groups) * smallest


def longest_request(plan: KVLayout, settings: KVSettings, usable_blocks: int) -> int:
    """Longest single request (at most `max_model_len`) that fits `usable_blocks`; 0 when none does."""
    if request_blocks(plan, settings, 1) > usable_blocks:
        return 0
    low, high = 1, settings.max_model_len
    while low < high:
        middle = (low + high + 1) // 2
        if request_blocks(plan, settings, middle) <= usable_blocks:
            low = middle
        else:
            high = middle - 1
    return low
