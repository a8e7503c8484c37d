"""Which caches each decoder layer keeps, by model family.

What a layer is follows the engine's model classes (``vllm/model_executor/models``) and, where ``config.json`` leaves
``layer_types`` out, the defaults that Transformers fills in before the engine reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from triton_vllm_operator.api.reasons import Reason
from triton_vllm_operator.capacity.errors import ShapeError
from triton_vllm_operator.capacity.model.config import ModelConfig
from triton_vllm_operator.capacity.model.shape import CacheShape, StateShape, state_dtype

_FULL_NAMES = frozenset({"full_attention", "attention", "global_attention", "full"})
_SLIDING_NAMES = frozenset({"sliding_attention", "sliding_window_attention", "local_attention"})
_STATE_NAMES = frozenset({"mamba", "mamba2", "linear_attention", "conv", "recurrent", "short_conv"})
#: Families whose attention ignores the model-level window.
_WINDOWLESS = frozenset({"qwen3_next", "qwen3_5_text", "qwen3_5_moe_text", "nemotron_h", "falcon_h1"})


def layer_caches(config: ModelConfig) -> tuple[tuple[CacheShape, ...], ...]:
    """Caches per decoder layer, in layer order."""
    family = _FAMILIES.get(config.model_type)
    return family(config) if family is not None else _by_layer_types(config)


def attention_cache(config: ModelConfig, window: int = 0) -> CacheShape:
    """The cache of an ordinary attention layer of this model; sliding when ``window`` is given."""
    size = config.head_size
    if not size or not config.kv_heads:
        raise ShapeError(Reason.CONFIG_FIELD_MISSING, "config.json gives no attention heads for an attention layer")
    value_size = config.text.integer("v_head_dim", size) if config.model_type.startswith("mimo_v2") else size
    return CacheShape("sliding" if window else "full", config.kv_heads, size, value_size, window)


def mla_cache(config: ModelConfig) -> CacheShape:
    """The latent cache of an MLA layer: one head, no separate V, the same on every rank."""
    return CacheShape("mla", kv_heads=1, head_size=config.head_size)


def _by_layer_types(config: ModelConfig) -> tuple[tuple[CacheShape, ...], ...]:
    if config.is_mla:
        return ((mla_cache(config),),) * config.layer_count
    kinds = layer_types(config)
    window = config.sliding_window or 0
    if kinds is None:
        return ((attention_cache(config, window),),) * config.layer_count
    if window and config.model_type == "cohere2":
        window += 1  # the engine's window excludes the token itself, the checkpoint's includes it
    return tuple(_cache_of(config, kind, window) for kind in kinds)


def _cache_of(config: ModelConfig, kind: str, window: int) -> tuple[CacheShape, ...]:
    if kind in _FULL_NAMES:
        return (attention_cache(config),)
    if kind in _SLIDING_NAMES:
        return (attention_cache(config, window),)
    if kind == "chunked_attention":
        chunk = config.text.integer("attention_chunk_size", 0, low=0) if config.text.has("attention_chunk_size") else 0
        cache = attention_cache(config)
        return (
            (CacheShape("chunked", cache.kv_heads, cache.head_size, cache.head_size_v, chunk),) if chunk else (cache,)
        )
    if kind in _STATE_NAMES:
        return (state_cache(config),)
    if kind in {"mlp", "moe", "none"}:
        return ()
    raise ShapeError(Reason.LAYER_TYPE_UNKNOWN, f"config.json: layer type {kind[:60]!r} is not known to the planner")


def layer_types(config: ModelConfig) -> Sequence[str] | None:
    """One kind per layer, from ``layer_types`` or the family's default pattern; None when all layers are alike."""
    key = config.text.first("layer_types", "layers_block_type")
    if key:
        kinds = config.text.texts(key)
        if len(kinds) < config.layer_count:
            raise ShapeError(
                Reason.CONFIG_FIELD_OUT_OF_RANGE,
                f"config.json: {key} has {len(kinds)} entries for {config.layer_count} layers",
            )
        return kinds[: config.layer_count]
    pattern = _DEFAULT_PATTERNS.get(config.model_type)
    return pattern(config) if pattern is not None else None


def _every(config: ModelConfig, period: int, rare: str, common: str) -> list[str]:
    return [rare if period and (i + 1) % period == 0 else common for i in range(config.layer_count)]


def _sliding_pattern(default: int) -> Callable[[ModelConfig], Sequence[str] | None]:
    def pattern(config: ModelConfig) -> Sequence[str] | None:
        if not config.sliding_window:
            return None
        key = config.text.first("sliding_window_pattern", "_sliding_window_pattern")
        raw = config.text.raw(key) if key else default
        if isinstance(raw, str):
            return ["sliding_attention" if raw[i % len(raw)] == "L" else "full_attention"
                    for i in range(config.layer_count)]  # fmt: skip
        period = config.text.integer(key, default, low=0) if key else default
        return _every(config, period, "full_attention", "sliding_attention")

    return pattern


def _alternating(config: ModelConfig) -> Sequence[str]:
    return ["sliding_attention" if i % 2 == 0 else "full_attention" for i in range(config.layer_count)]


def _qwen_pattern(config: ModelConfig) -> Sequence[str] | None:
    if not config.sliding_window:
        return None
    first = config.text.integer("max_window_layers", 28, low=0)
    return ["sliding_attention" if i >= first else "full_attention" for i in range(config.layer_count)]


def _gated_delta_pattern(config: ModelConfig) -> Sequence[str]:
    period = config.text.integer("full_attention_interval", 4)
    return _every(config, period, "full_attention", "linear_attention")


def _llama4_pattern(config: ModelConfig) -> Sequence[str]:
    given = config.text.integers("no_rope_layers")
    if not given:
        period = config.text.integer("no_rope_layer_interval", 4)
        return _every(config, period, "full_attention", "chunked_attention")
    if len(given) < config.layer_count:
        raise ShapeError(
            Reason.CONFIG_FIELD_OUT_OF_RANGE, "config.json: no_rope_layers is shorter than the number of layers"
        )
    return ["chunked_attention" if rope else "full_attention" for rope in given[: config.layer_count]]


def _jamba_pattern(config: ModelConfig) -> Sequence[str]:
    period = config.text.integer("attn_layer_period", 8)
    offset = config.text.integer("attn_layer_offset", 4, low=0)
    return ["attention" if i % period == offset else "mamba" for i in range(config.layer_count)]


def _nemotron_pattern(config: ModelConfig) -> Sequence[str]:
    letters = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}
    pattern = config.text.text("hybrid_override_pattern")
    if len(pattern) < config.layer_count or not set(pattern) <= set(letters):
        raise ShapeError(
            Reason.LAYER_TYPE_UNKNOWN, "config.json: hybrid_override_pattern must name each layer by M, *, - or E"
        )
    return [letters[letter] for letter in pattern[: config.layer_count]]


def _lfm2_pattern(config: ModelConfig) -> Sequence[str]:
    full = set(config.text.integers("full_attn_idxs")) or set(range(config.layer_count))
    return ["full_attention" if i in full else "conv" for i in range(config.layer_count)]


_DEFAULT_PATTERNS: dict[str, Callable[[ModelConfig], Sequence[str] | None]] = {
    "gemma2": _alternating,
    "gemma3": _sliding_pattern(6),
    "gemma3_text": _sliding_pattern(6),
    "cohere2": _sliding_pattern(4),
    "exaone4": _sliding_pattern(4),
    "olmo3": _sliding_pattern(4),
    "qwen2": _qwen_pattern,
    "qwen3": _qwen_pattern,
    "qwen3_next": _gated_delta_pattern,
    "qwen3_5": _gated_delta_pattern,
    "qwen3_5_text": _gated_delta_pattern,
    "qwen3_5_moe": _gated_delta_pattern,
    "qwen3_5_moe_text": _gated_delta_pattern,
    "llama4_text": _llama4_pattern,
    "jamba": _jamba_pattern,
    "nemotron_h": _nemotron_pattern,
    "lfm2": _lfm2_pattern,
    "lfm2_moe": _lfm2_pattern,
}


def state_cache(config: ModelConfig) -> CacheShape:
    """The recurrent state of one state layer (``MambaStateShapeCalculator`` in ``layers/mamba/mamba_utils.py``)."""
    builder = _STATES.get(config.model_type)
    if builder is None:
        raise ShapeError(
            Reason.LAYER_TYPE_UNKNOWN, f"the planner knows no state layer for model type {config.model_type!r}"
        )
    return CacheShape("mamba", state=builder(config))


def _gated_delta_state(config: ModelConfig) -> StateShape:
    text = config.text
    key = text.integer("linear_num_key_heads") * text.integer("linear_key_head_dim")
    value = text.integer("linear_num_value_heads") * text.integer("linear_value_head_dim")
    return StateShape(
        conv_width=2 * key + value,
        conv_taps=text.integer("linear_conv_kernel_dim", 4),
        grows_with_speculation=True,
        state_elements=value * text.integer("linear_key_head_dim"),
        state_dtype=state_dtype(text, "mamba_ssm_dtype", "auto"),
    )


def _mamba2_state(inner: int, groups: int, heads: int, head_size: int, state: int, taps: int, dtype: str) -> StateShape:
    return StateShape(
        conv_width=inner,
        conv_taps=taps,
        groups=groups,
        group_width=2 * state,
        grows_with_speculation=True,
        state_elements=heads * head_size * state,
        state_dtype=dtype,
    )


def _granite_state(config: ModelConfig) -> StateShape:
    text = config.text
    return _mamba2_state(
        inner=int(text.number("mamba_expand", 2) * config.hidden_size),
        groups=text.integer("mamba_n_groups", 1),
        heads=text.integer("mamba_n_heads"),
        head_size=text.integer("mamba_d_head"),
        state=text.integer("mamba_d_state"),
        taps=text.integer("mamba_d_conv", 4),
        dtype="auto",
    )


def _falcon_h1_state(config: ModelConfig) -> StateShape:
    text = config.text
    inner = text.optional_integer("mamba_d_ssm") or int(text.number("mamba_expand", 2) * config.hidden_size)
    return _mamba2_state(
        inner=inner,
        groups=text.integer("mamba_n_groups", 1),
        heads=text.integer("mamba_n_heads"),
        head_size=text.integer("mamba_d_head"),
        state=text.integer("mamba_d_state"),
        taps=text.integer("mamba_d_conv", 4),
        dtype="auto",
    )


def _nemotron_state(config: ModelConfig) -> StateShape:
    text = config.text
    heads, head_size = text.integer("mamba_num_heads"), text.integer("mamba_head_dim")
    return _mamba2_state(
        inner=heads * head_size,
        groups=text.integer("n_groups", 8),
        heads=heads,
        head_size=head_size,
        state=text.integer("ssm_state_size"),
        taps=text.integer("conv_kernel", 4),
        dtype=state_dtype(text, "mamba_ssm_cache_dtype", "float32"),
    )


def _zamba2_state(config: ModelConfig) -> StateShape:
    text = config.text
    return _mamba2_state(
        inner=int(text.number("mamba_expand", 2) * config.hidden_size),
        groups=text.integer("mamba_ngroups", 1),
        heads=text.integer("n_mamba_heads"),
        head_size=text.integer("mamba_headdim"),
        state=text.integer("mamba_d_state"),
        taps=text.integer("mamba_d_conv", 4),
        dtype="auto",
    )


def _pure_mamba2_state(config: ModelConfig) -> StateShape:
    text = config.text
    return _mamba2_state(
        inner=int(text.number("expand", 2) * config.hidden_size),
        groups=text.integer("n_groups", 8),
        heads=text.integer("num_heads"),
        head_size=text.integer("head_dim"),
        state=text.integer("state_size"),
        taps=text.integer("conv_kernel", 4),
        dtype="auto",
    )


def _mamba1_state(inner: int, state: int, taps: int) -> StateShape:
    return StateShape(conv_width=inner, conv_taps=taps, state_elements=inner * state)


def _jamba_state(config: ModelConfig) -> StateShape:
    text = config.text
    inner = int(text.number("mamba_expand", 2) * config.hidden_size)
    return _mamba1_state(inner, text.integer("mamba_d_state", 16), text.integer("mamba_d_conv", 4))


def _pure_mamba1_state(config: ModelConfig) -> StateShape:
    text = config.text
    inner = text.integer("intermediate_size", 2 * config.hidden_size)
    return _mamba1_state(inner, text.integer("state_size", 16), text.integer("conv_kernel", 4))


def _short_conv_state(config: ModelConfig) -> StateShape:
    return StateShape(
        conv_width=config.text.integer("conv_dim", config.hidden_size), conv_taps=config.text.integer("conv_L_cache", 3)
    )


_STATES: dict[str, Callable[[ModelConfig], StateShape]] = {
    "qwen3_next": _gated_delta_state,
    "qwen3_5": _gated_delta_state,
    "qwen3_5_text": _gated_delta_state,
    "qwen3_5_moe": _gated_delta_state,
    "qwen3_5_moe_text": _gated_delta_state,
    "olmo_hybrid": _gated_delta_state,
    "granitemoehybrid": _granite_state,
    "bamba": _granite_state,
    "falcon_h1": _falcon_h1_state,
    "nemotron_h": _nemotron_state,
    "zamba2": _zamba2_state,
    "mamba2": _pure_mamba2_state,
    "mamba": _pure_mamba1_state,
    "falcon_mamba": _pure_mamba1_state,
    "jamba": _jamba_state,
    "lfm2": _short_conv_state,
    "lfm2_moe": _short_conv_state,
}


def _all_state(config: ModelConfig) -> tuple[tuple[CacheShape, ...], ...]:
    return ((state_cache(config),),) * config.layer_count


def _state_beside_attention(config: ModelConfig) -> tuple[tuple[CacheShape, ...], ...]:
    # registration order in FalconH1ParallelHybrid: attention, then the mixer
    return ((attention_cache(config), state_cache(config)),) * config.layer_count


def _zamba2(config: ModelConfig) -> tuple[tuple[CacheShape, ...], ...]:
    kinds = layer_types(config) or ("mamba",) * config.layer_count
    both = (attention_cache(config), state_cache(config))
    return tuple(both if kind == "hybrid" else both[1:] for kind in kinds)


def _gpt_oss(config: ModelConfig) -> tuple[tuple[CacheShape, ...], ...]:
    # the engine alternates by index, whatever layer_types says
    window = config.sliding_window or 0
    return tuple((attention_cache(config, 0 if i % 2 else window),) for i in range(config.layer_count))


def _longcat(config: ModelConfig) -> tuple[tuple[CacheShape, ...], ...]:
    layers = config.text.integer("num_layers", config.layer_count, high=4096)
    return ((mla_cache(config), mla_cache(config)),) * layers


def _encoder_decoder(config: ModelConfig) -> tuple[tuple[CacheShape, ...], ...]:
    own = attention_cache(config)
    cross = CacheShape("cross", own.kv_heads, own.head_size, own.head_size_v)
    count = config.text.integer("decoder_layers", config.layer_count, high=4096)
    return ((own, cross),) * count


_FAMILIES: dict[str, Callable[[ModelConfig], tuple[tuple[CacheShape, ...], ...]]] = {
    "mamba": _all_state,
    "mamba2": _all_state,
    "falcon_mamba": _all_state,
    "falcon_h1": _state_beside_attention,
    "zamba2": _zamba2,
    "gpt_oss": _gpt_oss,
    "longcat_flash": _longcat,
    "whisper": _encoder_decoder,
}
